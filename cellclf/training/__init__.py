"""From a backbone and a training set to a run that can be stopped, continued, evaluated and shared."""
