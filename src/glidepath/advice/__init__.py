"""What the laws say of a run that was not made: the choice, its learning rate, its loss, and the recommendation."""
