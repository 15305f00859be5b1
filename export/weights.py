"""What a model has learned."""


def weights_of(model):
    """Variables of a model in their order, without the states of its metrics, which a compiled
    model counts among its weights.
    """
    of_metrics = {state.ref() for metric in model.metrics for state in metric.weights}
    return [variable for variable in model.weights if variable.ref() not in of_metrics]
