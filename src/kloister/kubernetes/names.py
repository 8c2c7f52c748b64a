"""Names that nodes, controller and webhook agree on (design, section 4)."""

from __future__ import annotations

GROUP = "kloister.dev"
EPC = "sgx.intel.com/epc"  # bytes, on the node's status
EPC_MIB = "kubernetes.azure.com/sgx_epc_mem_in_MiB"  # the older name of Azure's add-on, in MiB
EPC_BLOCK = "sgx.intel.com/epc-block"  # blocks of the device plugin, tagged with their NUMA node
ENCLAVE = "sgx.intel.com/enclave"
PROVISION = "sgx.intel.com/provision"
TAINT = EPC  # a taint has the name of the resource that it protects
CAPABLE = "sgx.intel.com/capable"
FSGSBASE = f"{GROUP}/fsgsbase"
MIB = 1024 * 1024
