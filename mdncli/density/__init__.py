"""What a conditional density is, and what it answers, without PyTorch."""
