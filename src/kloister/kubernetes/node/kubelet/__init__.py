"""What the kubelet speaks: messages made by protoc from our own .proto files, and calls over its Unix sockets."""
