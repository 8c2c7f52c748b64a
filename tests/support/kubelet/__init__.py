"""A kubelet's device manager in Python, as far as plugins see it, with what real kubelets do to them.

Registration and device calls with gRPC's limit of 4 MiB, both forms of `:authority`, the folder wiped at each start, an
old socket that refuses for a while, the checkpoint, preferred allocation, and the pod resources API.
"""

from tests.support.kubelet.double import Kubelet

__all__ = ["Kubelet"]
