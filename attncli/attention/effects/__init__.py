"""What heads do to an outcome: the prediction, direct effects, ablation and patching."""
