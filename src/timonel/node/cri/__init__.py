"""Container runtimes behind one interface (`runtime`): containerd over gRPC, and a simulated one."""
