"""OCI image documents (image-spec 1.1) and their Docker forms, and the tar headers of their layers. No I/O."""
