"""How it is shown: terminal lines, TensorBoard scalars, and a page with plots and tables."""
