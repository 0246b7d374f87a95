"""What the operations of the forward pass mean: `numpy_ops` (the definition) and `torch_ops`. Import the one you need."""
