"""The images of our own daemons, made by our own image room: `make images`."""
