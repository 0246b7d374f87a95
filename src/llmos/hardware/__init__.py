"""What the machine is: processor, cores that may be used, caches, memory, accelerators, measured roofs."""

from llmos.hardware.accelerators import Accelerator, accelerators
from llmos.hardware.caches import Cache, caches
from llmos.hardware.cores import Topology, topology, usable_cores
from llmos.hardware.cpu import architecture, features, model_name
from llmos.hardware.memory import Memory, memory, resident_bytes
from llmos.hardware.roofs import PROBE_SOURCE, measure_bandwidth, measure_peak

__all__ = [
    "PROBE_SOURCE",
    "Accelerator",
    "Cache",
    "Memory",
    "Topology",
    "accelerators",
    "architecture",
    "caches",
    "features",
    "measure_bandwidth",
    "measure_peak",
    "memory",
    "model_name",
    "resident_bytes",
    "topology",
    "usable_cores",
]
