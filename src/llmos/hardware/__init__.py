"""What the machine is: processor, cores that may be used, caches, memory, accelerators, measured roofs."""

from llmos.hardware.accelerators import Accelerator, accelerators
from llmos.hardware.anonymous import anonymous_memory
from llmos.hardware.caches import Cache, caches
from llmos.hardware.cores import Topology, topology, usable_cores
from llmos.hardware.cpu import CPUID_SOURCE, architecture, asked_features, features, model_name
from llmos.hardware.memory import Memory, memory, resident_bytes
from llmos.hardware.roofs import PROBE_SOURCE, measure_bandwidth, measure_peak

__all__ = [
    "CPUID_SOURCE",
    "PROBE_SOURCE",
    "Accelerator",
    "Cache",
    "Memory",
    "Topology",
    "accelerators",
    "anonymous_memory",
    "architecture",
    "asked_features",
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
