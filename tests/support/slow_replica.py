"""A replica whose steps take their time, so that something can happen between them."""

import time

from diffusion.cluster.app import Deployed

STEP_SECONDS = 0.03


class Slow(Deployed):
    """The same pictures, later."""

    async def __init__(self, options):
        await super().__init__(options)
        predict = self.engine.model.predict_noise

        def slowly(*rows):
            time.sleep(STEP_SECONDS)
            return predict(*rows)

        self.engine.model.predict_noise = slowly
