"""What several tests share: tiny experiments, planted data, files and processes."""
