"""The mutating webhook of pods: what a request of EPC means. It reads no Secret and does not decide who may run."""
