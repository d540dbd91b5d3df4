"""What is counted and measured: live figures, histograms, and the registry that exporters read."""
