"""The SGX platform as a pure state machine: enclave life cycle, keys, reports, PCE, QE and their documents."""
