"""Names to models on this machine: paths, embedded models, the catalogue, downloads from a Hub."""

from llmos.hub.resolve import Resolved, embedded_models, existing, is_hub_id, is_path, resolve

__all__ = ["Resolved", "embedded_models", "existing", "is_hub_id", "is_path", "resolve"]
