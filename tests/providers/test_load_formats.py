"""What local servers say of their load, as they say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.providers.load_formats import (
    EVERY_MODEL,
    BadLoad,
    ServerLoad,
    load_of,
    read_llamacpp,
    read_ollama,
    read_slots,
    read_vllm,
)

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta/llama-3"} 3.0
vllm:num_requests_running{engine="1",model_name="meta/llama-3"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="meta/llama-3"} 7.0
vllm:num_requests_waiting{engine="1",model_name="meta/llama-3"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="meta/llama-3"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="meta/llama-3"} 0.96
vllm:num_requests_waiting_by_reason{engine="0",model_name="meta/llama-3",reason="x"} 9
vllm:request_success_total{engine="0",finished_reason="stop",model_name="meta/llama-3"} 41.0
process_resident_memory_bytes 1.0e+09
"""
OLDER_VLLM = b"""vllm:num_requests_running{model_name="m"} 1.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.5
vllm:cpu_cache_usage_perc{model_name="m"} 0.9
"""
LLAMACPP = b"""# HELP llamacpp:requests_processing Number of requests processing
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
# HELP llamacpp:requests_deferred Number of requests deferred
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 3
# TYPE llamacpp:n_busy_slots_per_decode gauge
llamacpp:n_busy_slots_per_decode 1
"""
OLLAMA = b"""{"models":[{"name":"llama3.1:8b","model":"llama3.1:8b","size":6654289920,
"expires_at":"2026-11-22T14:38:31.83753-07:00","size_vram":6654289920},
{"name":"phi:latest","model":"phi:latest"}]}"""


def test_vllm_tells_what_runs_waits_and_fills_its_cache() -> None:
    """Requests are added up over the engines; a request waits where its engine's cache is full."""
    assert read_vllm(VLLM) == {"meta/llama-3": ServerLoad(5, 7, 0.96)}


def test_an_older_vllm_tells_it_in_other_words() -> None:
    assert read_vllm(OLDER_VLLM) == {"m": ServerLoad(1, 0, 0.5)}


def test_a_models_name_may_hold_anything() -> None:
    body = rb'vllm:num_requests_waiting{engine="0",model_name="a \"b\" {c}, d\\e"} 2.0 1700000000'
    assert read_vllm(body) == {'a "b" {c}, d\\e': ServerLoad(waiting=2)}


def test_llamacpp_tells_what_runs_and_waits() -> None:
    assert read_llamacpp(LLAMACPP) == {EVERY_MODEL: ServerLoad(1, 3)}
    older = LLAMACPP + b"llamacpp:kv_cache_usage_ratio 0.125\n"
    assert read_llamacpp(older) == {EVERY_MODEL: ServerLoad(1, 3, 0.125)}


def test_llamacpps_slots_tell_what_runs() -> None:
    body = b'[{"id":0,"n_ctx":8192,"is_processing":true},{"id":1,"is_processing":false}]'
    assert read_slots(body) == {EVERY_MODEL: ServerLoad(running=1, slots=2)}


def test_ollama_tells_what_is_in_memory() -> None:
    loads = read_ollama(OLLAMA)
    for model in ("llama3.1:8b", "phi", "phi:latest"):
        load = load_of(loads, model)
        assert load is not None and load.is_loaded
    absent = load_of(loads, "llama3.1:70b")
    assert absent is not None and not absent.is_loaded
    nothing = load_of(read_ollama(b'{"models":null}'), "phi")
    assert nothing is not None and not nothing.is_loaded


def test_a_server_with_one_model_need_not_know_it_by_our_name() -> None:
    one, other = ServerLoad(1, 1), ServerLoad(2, 2)
    assert load_of({"/models/m.gguf": one}, "m") == one
    assert load_of({"a": one, "b": other}, "b") == other
    assert load_of({"a": one, "b": other}, "m") is None
    assert load_of({EVERY_MODEL: one}, "m") == one


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>not found</html>",
        b"vllm:num_requests_running",
        b"vllm:num_requests_running{} ",
        b'vllm:num_requests_running{model_name="m"} many',
        b'vllm:num_requests_running{model_name="m"} NaN',
        b'vllm:num_requests_running{model_name="m"} -1',
        b'vllm:num_requests_running{model_name="m"} +Inf',
        b"vllm:request_success_total 1",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_load_is_refused(body: bytes) -> None:
    with pytest.raises(BadLoad):
        read_vllm(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"models":3}', b"[" * 100_000, b'"x"'])
def test_what_is_no_list_of_models_is_refused(body: bytes) -> None:
    with pytest.raises(BadLoad):
        read_ollama(body)


@given(st.binary(max_size=200), st.sampled_from([b"vllm:num_requests_waiting", b""]))
def test_no_bytes_raise_anything_else(body: bytes, before: bytes) -> None:
    for read in (read_vllm, read_llamacpp, read_ollama, read_slots):
        try:
            loads = read(before + body)
        except BadLoad:
            continue
        assert all(load.waiting >= 0 for load in loads.values())
