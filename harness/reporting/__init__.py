"""How it is shown: terminal lines and TensorBoard scalars."""
