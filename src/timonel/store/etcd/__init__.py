"""The distributed store: etcd v3 over gRPC. `wire` are its messages, `connection` finds an endpoint that answers,
`store` is the Store. grpc is imported when the first connection is made, and by nobody else.
"""
