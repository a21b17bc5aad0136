"""What tells one network from another."""

import hashlib
import json

from occface_core.networks.mirrored import AnyEncoder


def network_digest(model: AnyEncoder) -> str:
    """A hash of a network's configuration and tensors, the same whatever file it came from."""
    digest = hashlib.sha256(json.dumps(model.config.to_dict(), sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
