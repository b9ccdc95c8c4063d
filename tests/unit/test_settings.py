"""Settings: where they come from, which source wins, and how a wrong one is named."""

from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from switchtower.errors import ConfigurationError
from switchtower.settings import EMBEDDED, Broker, Settings, load


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No variable and no file but the test's own."""
    for name in [name for name in os.environ if name.startswith("SWITCHTOWER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHTOWER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_defaults_need_nothing():
    found = load()
    assert found.broker.url == "redis://127.0.0.1:6379/0"
    assert found.line.max_deliveries == 5


def test_a_variable_sets_one_field_of_a_tier(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LINE__LEASE_S", "7.5")
    found = load()
    assert found.line.lease_s == 7.5
    assert found.line.grace_s == 5


def test_a_file_sets_tiers(tmp_path):
    write(tmp_path / "switchtower.toml", '[broker]\nurl = "redis://here/1"\n[routing]\ndefault_strategy = "x"\n')
    assert load().broker.url == "redis://here/1"
    assert load().routing.default_strategy == "x"


def test_the_embedded_system_is_found_in_the_home_folder(tmp_path):
    write(tmp_path / "home" / EMBEDDED, '[broker]\nurl = "redis://embedded/0"\n')
    assert load().broker.url == "redis://embedded/0"


def test_a_variable_wins_over_the_file(monkeypatch, tmp_path):
    write(tmp_path / "switchtower.toml", "[line]\nlease_s = 3\ngrace_s = 4\n")
    monkeypatch.setenv("SWITCHTOWER_LINE__LEASE_S", "2")
    assert (load().line.lease_s, load().line.grace_s) == (2, 4)


def test_a_secret_wins_over_the_file_and_loses_to_the_variable(monkeypatch, tmp_path):
    write(tmp_path / "switchtower.toml", '[broker]\nurl = "redis://file/0"\n')
    write(tmp_path / "secrets" / "switchtower_broker", '{"url": "redis://secret/0"}')
    assert Settings(_secrets_dir=tmp_path / "secrets").broker.url == "redis://secret/0"
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", "redis://variable/0")
    assert Settings(_secrets_dir=tmp_path / "secrets").broker.url == "redis://variable/0"


def test_what_the_caller_says_wins_over_everything(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", "redis://variable/0")
    assert load(broker=Broker(url="redis://said/0")).broker.url == "redis://said/0"


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("SWITCHTOWER_LINE__LEASE_S", "soon", "line.lease_s"),
        ("SWITCHTOWER_LINE__MAX_DELIVERIES", "0", "line.max_deliveries"),
        ("SWITCHTOWER_FLOWER__PORT", "70000", "flower.port"),
        ("SWITCHTOWER_COST__LOCAL_COST_PER_TOKEN", "-1", "cost.local_cost_per_token"),
        ("SWITCHTOWER_LINE__LEASE", "1", "line.lease"),
        ("SWITCHTOWER_LOCAL__WEIGHTS", "int8", "local.weights"),
        ("SWITCHTOWER_LOCAL__GPU_LAYERS", "-2", "local.gpu_layers"),
        ("SWITCHTOWER_LOCAL__MAX_BATCH", "0", "local.max_batch"),
        ("SWITCHTOWER_LOCAL__BASE_MODEL_PATH", "", "local.base_model_path"),
    ],
)
def test_a_wrong_value_and_an_unknown_field_are_named(monkeypatch, name, value, named):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=named):
        load()


def test_pinned_adapters_leave_no_more_than_all_slots_taken(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LOCAL__PINNED_ADAPTERS", '["a", "b"]')
    assert load().local.pinned_adapters == ("a", "b")
    monkeypatch.setenv("SWITCHTOWER_LOCAL__MAX_CONCURRENT_ADAPTERS", "1")
    with pytest.raises(ConfigurationError, match="pinned_adapters"):
        load()


def test_every_wrong_value_is_named_at_once(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LINE__LEASE_S", "-1")
    monkeypatch.setenv("SWITCHTOWER_FLOWER__PORT", "0")
    with pytest.raises(ConfigurationError, match=r"line\.lease_s.*flower\.port"):
        load()


def test_a_wrong_secret_is_not_shown(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_FLOWER__PASSWORD", '{"key": "sk-not-for-logs"}')
    monkeypatch.setenv("SWITCHTOWER_FLOWER__PORT", "sk-not-for-logs")
    with pytest.raises(ConfigurationError) as wrong:
        load()
    assert "sk-not-for-logs" not in str(wrong.value)


def test_secrets_are_not_printed(monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_FLOWER__PASSWORD", "sk-not-for-logs")
    assert load().flower.password.get_secret_value() == "sk-not-for-logs"
    assert "sk-not-for-logs" not in repr(load())


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        load().line.lease_s = 1
