"""Several models of toy size that an engine offers by name."""

import copy
from functools import cache, partial

from diffusion.loading.memory import model_bytes
from diffusion.loading.random_weights import build_tiny_components
from diffusion.serving.offers import Offer
from tests.support.models import model_of


def named_model(name, prediction_type="v_prediction"):
    model = model_of({part: copy.deepcopy(each) for part, each in components_of(prediction_type).items()})
    model.name = name
    return model


@cache
def components_of(prediction_type):
    return build_tiny_components(prediction_type)


class Shelf:
    """Models by name as they lie on a disk: each load builds a new one and is noted in ``loads``."""

    def __init__(self, **kinds):
        self.kinds = kinds
        self.loads = []
        self.described = {name: named_model(name, kind) for name, kind in kinds.items()}

    def load(self, name):
        self.loads.append(name)
        return named_model(name, self.kinds[name]), None

    def offers(self):
        return {name: Offer(partial(self.load, name), partial(self.describe, name)) for name in self.kinds}

    def describe(self, name):
        return self.described[name], model_bytes(self.described[name])
