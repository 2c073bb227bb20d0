"""The links between a request and its verb: what it asks for (`info`), who asks, and whether they may."""
