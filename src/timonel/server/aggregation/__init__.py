"""API servers behind this one: APIService objects say which group versions others serve, and whether they can be had.

registrar -> APIServices of what this server serves itself; availability (pure) + watcher -> the Available condition;
routes -> which requests go elsewhere; proxy + backend -> the way there; documents -> what the others say they serve.
"""
