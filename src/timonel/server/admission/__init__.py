"""Built-in admission: one file per plugin or family of plugins, under upstream's names; `order` lists them."""
