"""Pure helpers about objects of the API, shared by kinds, controllers, scheduler and node."""
