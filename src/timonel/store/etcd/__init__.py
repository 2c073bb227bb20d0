"""The distributed store: etcd v3 over gRPC. `store` is the Store, `connection` finds an endpoint that answers, `wire`
are etcd's messages, `http2` and `hpack` are as much of HTTP/2 as gRPC needs.
"""
