"""Files that are wrong, and exactly what is said of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Wrong = Callable[..., list[str]]

GOOD = """\
deployments:
  - {model: openai/gpt-4.1}
  - {model: openai/gpt-4.1-mini}
  - {model: groq/llama-3.3-70b, name: fast, residency: eu}
"""


def routes(block: str) -> str:
    """A good file with these routes; the first line of the block is line 6."""
    return GOOD + "routes:\n" + block


CASES: list[tuple[str, str, str]] = [
    # The shape.
    (
        "more money than a ledger's column holds",
        GOOD + "budgets: [{name: b, scope: everyone, limit_usd: 9300000000}]\n",
        "f.yaml:5: budgets[0].limit_usd: 9300000000 is above 1000000000",
    ),
    (
        "endless money",
        GOOD + "budgets: [{name: b, scope: everyone, limit_usd: 1e400}]\n",
        "f.yaml:5: budgets[0].limit_usd:",
    ),
    (
        "more tokens than a ledger's column holds",
        GOOD + "rates: [{name: b, scope: user, tokens_per_minute: 9300000000000000000}]\n",
        "f.yaml:5: rates[0].tokens_per_minute: 9300000000000000000 is above 1000000000000000",
    ),
    (
        "a misspelt key",
        GOOD + "server: {prot: 1}\n",
        "f.yaml:5: server.prot: no such key; did you mean `port`?",
    ),
    (
        "a key from nowhere",
        GOOD + "ledger: {colour: red}\n",
        "f.yaml:5: ledger.colour: no such key; choose from path, flush_s, batch_rows",
    ),
    (
        "another program's key",
        GOOD + "router_settings: {}\n",
        "f.yaml:5: router_settings: no such key; this looks like a LiteLLM file: run "
        "`pointsman migrate FILE`",
    ),
    (
        "a key of another program in a provider",
        GOOD + "providers:\n  openai: {api_base: http://x}\n",
        "f.yaml:6: providers.openai.api_base: no such key; write `url:`",
    ),
    (
        "a text where a number belongs",
        GOOD + "server:\n  port: many\n",
        "f.yaml:6: server.port: the text `many` instead of a whole number",
    ),
    (
        "a fraction where a whole number belongs",
        GOOD + "server:\n  workers: 1.5\n",
        "f.yaml:6: server.workers: `1.5` instead of a whole number",
    ),
    (
        "too large a number",
        GOOD + "server: {port: 70000}\n",
        "f.yaml:5: server.port: 70000 is above 65535",
    ),
    (
        "a number that must be above nothing",
        GOOD + "timeouts: {total_s: 0}\n",
        "f.yaml:5: timeouts.total_s: 0 is not above 0",
    ),
    (
        "a number where a text belongs",
        GOOD + "server: {host: 1}\n",
        "f.yaml:5: server.host: `1` instead of text; put it in quotes",
    ),
    (
        "one where a list belongs",
        routes("  - {name: auto, aliases: main}\n"),
        "f.yaml:6: routes[0].aliases: the text `main` instead of a list; write `[main]`",
    ),
    (
        "a list where a mapping belongs",
        GOOD + "server: [1]\n",
        "f.yaml:5: server: a list instead of a mapping; its keys are host, port, workers, keys, "
        "body_mb, json_depth, …",
    ),
    (
        "a word where a mapping belongs",
        routes("  - {name: auto, timeouts: 5}\n"),
        "f.yaml:6: routes[0].timeouts: `5` instead of a mapping; its keys are connect_s, "
        "first_content_s, idle_s, whole_s, total_s",
    ),
    (
        "yes instead of true",
        routes("  - {name: auto, fallback: {enabled: yes}}\n"),
        "f.yaml:6: routes[0].fallback.enabled: the text `yes` instead of true or false",
    ),
    (
        "nothing where something belongs",
        routes("  - {name: }\n"),
        "f.yaml:6: routes[0].name: nothing instead of text",
    ),
    (
        "an empty name",
        routes("  - {name: ''}\n"),
        "f.yaml:6: routes[0].name: empty; write something or remove the key",
    ),
    (
        "a missing key",
        routes("  - {strategy: cost}\n"),
        "f.yaml:6: routes[0].name: missing; it has no default",
    ),
    (
        "an unknown tier",
        "deployments:\n  - {model: openai/gpt-4.1, tier: cloud}\n",
        "f.yaml:2: deployments[0].tier: `cloud` is not known; choose from frontier, local, "
        "workhorse",
    ),
    (
        "a misspelt task",
        routes("  - name: auto\n    rules:\n      - {name: a, when: {task: [cod]}, use: {}}\n"),
        "f.yaml:8: routes[0].rules[0].when.task[0]: `cod` is not known; did you mean `code`?",
    ),
    (
        "an odd language code",
        routes("  - {name: a, rules: [{name: b, when: {language: [Chinese]}, use: {}}]}\n"),
        "f.yaml:6: routes[0].rules[0].when.language[0]: `Chinese` is not an ISO 639-1 code such "
        "as `en`",
    ),
    (
        "a price that is a word",
        "deployments:\n  - {model: openai/gpt-4.1, price: cheap}\n",
        "f.yaml:2: deployments[0].price: `cheap` is not `free`, `unknown` or a mapping",
    ),
    (
        "a negative price",
        "deployments:\n  - {model: openai/gpt-4.1, price: {input_usd: -1, output_usd: 1}}\n",
        "f.yaml:2: deployments[0].price.input_usd: -1 is below 0",
    ),
    (
        "half a price",
        "deployments:\n  - {model: openai/gpt-4.1, price: {input_usd: 1}}\n",
        "f.yaml:2: deployments[0].price.output_usd: missing; it has no default",
    ),
    ("no deployments", "server: {port: 1}\n", "f.yaml:1: deployments: missing; it has no default"),
    (
        "an empty list of deployments",
        "deployments: []\n",
        "f.yaml:1: deployments: no deployments; name one, such as `- {model: openai/gpt-4.1}`",
    ),
    (
        "no mapping at all",
        "- a\n- b\n",
        "f.yaml:1: a list instead of a mapping; its keys are server, ledger, providers, "
        "deployments, routes, timeouts, …",
    ),
    (
        "a key twice",
        GOOD + "deployments: []\n",
        "f.yaml:5: deployments: written twice (first on line 1); keep one",
    ),
    # Providers.
    (
        "an unknown provider",
        "deployments:\n  - {model: opnai/gpt-4.1}\n",
        "f.yaml:2: deployments[0].model: unknown provider `opnai`; did you mean `openai`?",
    ),
    (
        "a provider of one's own that is not declared",
        "deployments:\n  - {provider: basement, model: x}\n",
        "f.yaml:2: deployments[0].provider: unknown provider `basement`; declare it: "
        "`providers: {basement: {url: …, dialect: openai}}`",
    ),
    (
        "a provider without a dialect",
        GOOD + "providers:\n  basement: {url: http://127.0.0.1:1/v1}\n",
        "f.yaml:6: providers.basement: not in the catalogue, and no `dialect`; write "
        "`dialect: openai` and `url:`",
    ),
    (
        "a provider without an address",
        GOOD + "providers:\n  basement: {dialect: openai}\n",
        "f.yaml:6: providers.basement.url: no URL is known; write `url: https://…`",
    ),
    (
        "Azure without its address",
        GOOD + "providers:\n  azure: {key: 'env:APP_KEY'}\n",
        "f.yaml:6: providers.azure.url: no URL is known; write `url: https://…`, or set "
        "AZURE_OPENAI_ENDPOINT or AZURE_API_BASE",
    ),
    (
        "no URL",
        GOOD + "providers:\n  openai: {url: 'localhost:8000'}\n",
        "f.yaml:6: providers.openai.url: `localhost:8000` is no URL; write `https://host/v1`",
    ),
    (
        "the address of one operation",
        GOOD + "providers:\n  openai: {url: 'http://h/v1/chat/completions'}\n",
        "f.yaml:6: providers.openai.url: the address of one operation; stop before "
        "/chat/completions or /v1/messages",
    ),
    (
        "an Anthropic address with its version",
        GOOD + "providers:\n  anthropic: {url: 'http://h/v1'}\n",
        "f.yaml:6: providers.anthropic.url: ends in /v1; leave it out: dialect anthropic adds "
        "/v1/messages",
    ),
    (
        "a copy of nobody",
        GOOD + "providers:\n  azure-eu: {like: azur}\n",
        "f.yaml:6: providers.azure-eu.like: `azur` is not in the catalogue; did you mean `azure`?",
    ),
    (
        "a file of authorities that is not there",
        GOOD + "providers:\n  openai: {ca_file: nowhere.pem}\n",
        "f.yaml:6: providers.openai.ca_file: there is no file",
    ),
    # Deployments.
    (
        "a model without a provider",
        "deployments:\n  - {model: gpt-4.1}\n",
        "f.yaml:2: deployments[0].model: `gpt-4.1` names no provider; write `provider:`, or "
        "`model: provider/gpt-4.1`",
    ),
    (
        "the same model twice",
        GOOD + "  - {model: openai/gpt-4.1}\n",
        "f.yaml:5: deployments[3]: `openai/gpt-4.1` is already the name of deployments[0]; give "
        "one of them another `name:`",
    ),
    (
        "a name that cannot be told from a pattern",
        "deployments:\n  - {model: openai/gpt-4.1, name: 'tier:x'}\n",
        "f.yaml:2: deployments[0].name: `tier:x` cannot name a deployment; leave out blanks, `*` "
        "and `tier:`",
    ),
    (
        "a hosted model of unknown price",
        "deployments:\n  - {model: openai/gpt-9}\n",
        "f.yaml:2: deployments[0].price: no price is known for openai/gpt-9; write "
        "`price: {input_usd: …, output_usd: …}` per million tokens, `price: free` or "
        "`price: unknown`",
    ),
    (
        "price steps that do not rise",
        "deployments:\n"
        "  - model: openai/gpt-4.1\n"
        "    price:\n"
        "      input_usd: 1\n"
        "      output_usd: 1\n"
        "      above:\n"
        "        - {input_tokens: 9, input_usd: 1, output_usd: 1}\n"
        "        - {input_tokens: 9, input_usd: 1, output_usd: 1}\n",
        "f.yaml:6: deployments[0].price.above: thresholds do not rise; sort them by `input_tokens`",
    ),
    (
        "an answer longer than the context",
        "deployments:\n  - {model: openai/gpt-4.1, context_tokens: 100, output_tokens: 200}\n",
        "f.yaml:2: deployments[0].output_tokens: 200 is more than the whole context of 100; "
        "answer and input share the context",
    ),
    (
        "a default answer longer than the longest",
        "deployments:\n  - {model: openai/gpt-4.1, output_tokens: 10, default_max_tokens: 20}\n",
        "f.yaml:2: deployments[0].default_max_tokens: 20 is above output_tokens, 10; lower it",
    ),
    (
        "a capability nobody knows",
        "deployments:\n  - {model: openai/gpt-4.1, capabilities: [chat, visoin]}\n",
        "f.yaml:2: deployments[0].capabilities[1]: unknown capability `visoin`; did you mean "
        "`vision`?; your own are written `x-visoin`",
    ),
    (
        "a model that does not chat",
        "deployments:\n  - {model: openai/whisper-1}\n",
        "f.yaml:2: deployments[0]: whisper-1 is not known to chat or to embed; if it does, write "
        "`capabilities: [chat]`",
    ),
    # Routes.
    (
        "an unknown strategy",
        routes("  - {name: auto, strategy: cheapest}\n"),
        "f.yaml:6: routes[0].strategy: unknown strategy `cheapest`; choose from ",
    ),
    (
        "a strategy of another spelling",
        routes("  - {name: auto, strategy: Round-Robin}\n"),
        "f.yaml:6: routes[0].strategy: unknown strategy `Round-Robin`; did you mean `round_robin`?",
    ),
    (
        "an unknown scorer",
        routes("  - {name: auto, weights: {price: 1}}\n"),
        "f.yaml:6: routes[0].weights.price: unknown scorer `price`; choose from ",
    ),
    (
        "weights without weight",
        routes("  - {name: auto, weights: {cost: 0, latency: 0}}\n"),
        "f.yaml:6: routes[0].weights: every weight is 0; give one of them weight, or leave the "
        "key out",
    ),
    (
        "a negative weight",
        routes("  - {name: auto, weights: {cost: -1}}\n"),
        "f.yaml:6: routes[0].weights.cost: -1 is below 0",
    ),
    (
        "an unknown picker",
        routes("  - {name: auto, picker: dice}\n"),
        "f.yaml:6: routes[0].picker: `dice` is not known; choose from ",
    ),
    (
        "an unknown deployment",
        routes("  - {name: auto, deployments: [openai/gpt-41, fast]}\n"),
        "f.yaml:6: routes[0].deployments[0]: unknown deployment `openai/gpt-41`; did you mean "
        "`openai/gpt-4.1`?",
    ),
    (
        "a provider without deployments",
        routes("  - {name: auto, deployments: ['mistral/*', fast]}\n"),
        "f.yaml:6: routes[0].deployments[0]: no deployment is at provider `mistral`; choose from "
        "groq, openai",
    ),
    (
        "a tier without deployments",
        routes("  - {name: auto, deployments: ['tier:local', fast]}\n"),
        "f.yaml:6: routes[0].deployments[0]: no deployment has tier local; add one, or leave the "
        "entry out",
    ),
    (
        "a tier nobody knows",
        routes("  - {name: auto, deployments: ['tier:lokal']}\n"),
        "f.yaml:6: routes[0].deployments[0]: unknown tier `lokal`; did you mean `local`?",
    ),
    (
        "a route over nothing",
        routes("  - {name: auto, deployments: []}\n"),
        "f.yaml:6: routes[0].deployments: empty; name some, or leave the key out for all",
    ),
    (
        "an order with a deployment of another route",
        routes("  - {name: auto, deployments: [fast], order: [openai/gpt-4.1]}\n"),
        "f.yaml:6: routes[0].order[0]: `openai/gpt-4.1` is not one of the deployments of route "
        "auto; add it there",
    ),
    (
        "two routes of one name",
        routes("  - {name: auto}\n  - {name: auto}\n"),
        "f.yaml:7: routes[1].name: `auto` is already a name of the same route; choose another",
    ),
    (
        "an alias that is another route",
        routes("  - {name: auto}\n  - {name: main, aliases: [auto]}\n"),
        "f.yaml:7: routes[1].aliases[0]: `auto` is already a name of route auto; choose another",
    ),
    (
        "a capability that no deployment has",
        routes("  - {name: auto, require: [audio]}\n"),
        "f.yaml:6: routes[0].require: no deployment of the route has audio; every request would "
        "be refused",
    ),
    (
        "a residency that no deployment has",
        routes("  - {name: auto, residency: ch}\n"),
        "f.yaml:6: routes[0].residency: no deployment of the route keeps its data in `ch`; write "
        "`residency:` at those that do",
    ),
    (
        "an unknown baseline",
        routes("  - {name: auto, baseline: openai/gpt-4}\n"),
        "f.yaml:6: routes[0].baseline: unknown deployment `openai/gpt-4`; did you mean "
        "`openai/gpt-4.1`?",
    ),
    (
        "a chain with an unknown deployment",
        routes("  - {name: auto, fallback: {chain: [slow]}}\n"),
        "f.yaml:6: routes[0].fallback.chain[0]: unknown deployment `slow`; choose from ",
    ),
    (
        "a chain for one kind with an unknown deployment",
        routes("  - {name: auto, fallback: {context_length: [fsat]}}\n"),
        "f.yaml:6: routes[0].fallback.context_length[0]: unknown deployment `fsat`; did you mean "
        "`fast`?",
    ),
    (
        "a content filter that is and is not followed",
        routes("  - {name: a, fallback: {content_filter: [fast], on_content_filter: false}}\n"),
        "f.yaml:6: routes[0].fallback.on_content_filter: false, but `content_filter` has a "
        "chain; leave one of them out",
    ),
    (
        "a wait longer than the whole",
        routes("  - {name: auto, timeouts: {first_content_s: 40, total_s: 20}}\n"),
        "f.yaml:6: routes[0].timeouts.first_content_s: 40 s is longer than total_s, 20 s; lower "
        "it or raise total_s",
    ),
    (
        "a rule that changes nothing",
        routes("  - {name: auto, rules: [{name: a, when: {}, use: {}}]}\n"),
        "f.yaml:6: routes[0].rules[0].use: changes nothing; write `tiers`, `deployments`, "
        "`strategy` or `weights`",
    ),
    (
        "a rule that leaves nobody",
        routes("  - {name: auto, rules: [{name: a, when: {}, use: {tiers: [local]}}]}\n"),
        "f.yaml:6: routes[0].rules[0].use.tiers: no deployment of route auto is left by tiers "
        "local; requests under this rule would be refused",
    ),
    (
        "a rule with an unknown strategy",
        routes("  - {name: auto, rules: [{name: a, when: {}, use: {strategy: bogus}}]}\n"),
        "f.yaml:6: routes[0].rules[0].use.strategy: unknown strategy `bogus`; choose from ",
    ),
    (
        "a rule for no length",
        routes(
            "  - name: auto\n"
            "    rules:\n"
            "      - name: a\n"
            "        when: {input_tokens_above: 10, input_tokens_below: 11}\n"
            "        use: {strategy: cost}\n"
        ),
        "f.yaml:9: routes[0].rules[0].when.input_tokens_below: no length is above 10 and below "
        "11; correct one of them",
    ),
    (
        "a language that cannot be told",
        routes(
            "  - {name: a, rules: [{name: b, when: {language: [qq]}, use: {strategy: cost}}]}\n"
        ),
        "f.yaml:6: routes[0].rules[0].when.language[0]: cannot tell `qq`; choose from ",
    ),
    (
        "two rules of one name",
        routes(
            "  - name: auto\n"
            "    rules:\n"
            "      - {name: a, when: {task: [code]}, use: {strategy: cost}}\n"
            "      - {name: a, when: {task: [math]}, use: {strategy: cost}}\n"
        ),
        "f.yaml:9: routes[0].rules[1].name: `a` names two rules; choose another",
    ),
    # The rest.
    (
        "a breaker that opens longer at first than at most",
        GOOD + "breaker: {base_s: 90}\n",
        "f.yaml:5: breaker.base_s: 90 s is longer than max_s, 60 s; lower it or raise max_s",
    ),
    (
        "a key for an unknown route",
        GOOD + "server:\n  keys:\n    - {key: 'env:APP_KEY', routes: [atuo]}\n",
        "f.yaml:7: server.keys[0].routes[0]: unknown route `atuo`; did you mean `auto`?",
    ),
    (
        "the same key twice",
        GOOD
        + "server:\n  keys:\n    - {key: 'env:APP_KEY'}\n    - {key: 'env:APP_KEY', name: b}\n",
        "f.yaml:8: server.keys[1].key: the same key as that of APP_KEY; give every caller a key "
        "of its own",
    ),
    (
        "two keys of one name",
        GOOD
        + "server:\n  keys:\n"
        + "    - {key: 'env:APP_KEY', name: a}\n    - {key: 'env:OTHER_KEY', name: a}\n",
        "f.yaml:8: server.keys[1].name: `a` names two keys; write another `name:`",
    ),
]


@pytest.mark.parametrize(
    ("text", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_bad_file_is_told_line_field_and_remedy(text: str, message: str, wrong: Wrong) -> None:
    found = wrong(text)
    assert any(line.startswith(message) for line in found), "\n".join(found)


ALONE = {"no deployments", "an unknown tier", "half a price"}


@pytest.mark.parametrize(
    ("text", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_one_mistake_is_told_once(text: str, message: str, wrong: Wrong) -> None:
    """No complaint follows from another: what depends on a wrong entry is passed over."""
    found = wrong(text)
    if message.startswith("f.yaml:8: routes[0].rules[0].when.task") or "language[0]" in message:
        found = [line for line in found if "use: changes nothing" not in line]
    assert len(found) == 1, "\n".join(found)


def test_independent_mistakes_are_told_together_by_line(wrong: Wrong) -> None:
    found = wrong(
        "server: {prot: 1}\n"
        "deployments:\n"
        "  - {model: openai/gpt-4.1, tier: cloud}\n"
        "  - {model: openai/gpt-9}\n"
        "  - {model: groq/llama-3.3-70b, name: fast}\n"
        "routes:\n"
        "  - {name: a, strategy: bogus, deployments: [openai/gpt-4.1, openai/gpt-9, fast, fsat]}\n"
        "  - {name: b, timeouts: {idle_s: 9, total_s: 8}}\n"
        "  - {name: c, aliases: [a]}\n"
    )
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [
        "server.prot",
        "deployments[0].tier",
        "deployments[1].price",
        "routes[0].deployments[3]",
        "routes[0].strategy",
        "routes[1].timeouts.idle_s",
        "routes[2].aliases[0]",
    ]


def test_a_wrong_deployment_is_not_called_unknown_elsewhere(wrong: Wrong) -> None:
    found = wrong(
        "providers:\n"
        "  house: {kind: vlm, url: 'http://127.0.0.1:1/v1'}\n"
        "deployments:\n"
        "  - {provider: house, model: qwen}\n"
        "  - {name: fast, model: groq/llama-3.3-70b, weight: heavy}\n"
        "  - {model: openai/gpt-4.1}\n"
        "routes:\n"
        "  - {name: auto, deployments: [house/qwen, fast, 'house/*', 'tier:local']}\n"
    )
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [
        "providers.house.kind",
        "deployments[1].weight",
    ]
