from __future__ import annotations

import pytest

from metamtl.runs.redact import redact_command, redact_config, redact_text


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("+logger.wandb.api_key=abc", "+logger.wandb.api_key=***"),
        ("WANDB_API_KEY=abc", "WANDB_API_KEY=***"),
        ("hub.token=hf_x", "hub.token=***"),
        ("db.password=1234", "db.password=***"),
        ("clientSecret=x", "clientSecret=***"),
        ("+logger={wandb:{api_key:abc,project:p}}", "+logger={wandb:{api_key:***,project:p}}"),
        ("--api-key=abc", "--api-key=***"),
        ("url=https://me:pw@host/x", "url=https://***@host/x"),
        ("algo.inner_lr=0.4", "algo.inner_lr=0.4"),
        ("data.max_tokens=128", "data.max_tokens=128"),
        ("tokenizer=bert", "tokenizer=bert"),
        ("seed=0,1,2", "seed=0,1,2"),
    ],
)
def test_values_of_secret_names_are_hidden_in_commands(argument: str, shown: str) -> None:
    assert redact_command(["metamtl", argument]) == ["metamtl", shown]


def test_a_value_in_an_argument_of_its_own_is_hidden() -> None:
    assert redact_command(["--token", "abc", "--verbose", "x"]) == ["--token", "***", "--verbose", "x"]


def test_secrets_of_the_environment_are_hidden_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("PATH_TO_KEY", "/usr")
    assert redact_text("sent 0123456789abcdef to /usr/bin") == "sent *** to /usr/bin"


def test_a_section_whose_name_tells_a_secret_does_not_shield_what_is_in_it() -> None:
    assert redact_text("secrets:\n  api_key: abc\n  url: https://me:pw@host") == (
        "secrets:\n  api_key: ***\n  url: https://***@host"
    )


def test_messages_stay_readable() -> None:
    for text in (
        "KeyError: 'maml'",
        "key: data.name",
        "names = sorted(x, key=len)",
        "4 tokens: 12",
        "see https://host/a",
    ):
        assert redact_text(text) == text
    assert redact_text("'api_key': 'abc', \"password\" : \"x y\"") == "'api_key': ***, \"password\" : ***"


def test_a_config_holds_neither_keys_of_the_environment_nor_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "0123456789abcdef")
    config = {"label": "x-0123456789abcdef", "places": ["https://me:pw@host/x", "https://host/x"]}
    assert redact_config(config) == {"label": "x-***", "places": ["https://***@host/x", "https://host/x"]}


def test_a_config_keeps_what_it_is_built_from() -> None:
    config = {
        "data": {"label_key": "fine", "pad_token": "[PAD]", "tokens": 5},
        "x": [{"api_key": "abc", "password": "p"}],
    }
    assert redact_config(config) == {**config, "x": [{"api_key": "***", "password": "***"}]}
