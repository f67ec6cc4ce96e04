"""One module per law: final losses in; parameters, predictions and out-of-sample scores out, as tables."""
