"""LoRAs on the way between a bot and its replicas."""

import pytest

from diffusion.cluster.schema import RemoteModel, decode_request, encode_request, encode_spec
from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest, Limits


def test_a_replica_names_its_loras_and_draws_them(model, folder, tmp_path):
    (tmp_path / "old.pt").write_bytes(b"anything")
    model.offer_loras([folder, tmp_path])
    remote = RemoteModel("http://replica", encode_spec(model, can_screen=False))
    assert remote.loras.keys() == model.loras.keys()
    request = ImageRequest("a fox", "", 32, 32, 3, sampler="ddim", loras=(("style", 0.8), ("texts", -1.0)))
    remote.validate(request)
    assert decode_request(encode_request(request, 1), Limits())[0] == request
    with pytest.raises(InvalidRequestError, match="The LoRA old is a pickle"):
        remote.validate(request.replace(loras=(("old", 1.0),)))
