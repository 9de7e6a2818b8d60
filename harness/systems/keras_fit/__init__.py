"""What the base of Keras adapters is made of."""
