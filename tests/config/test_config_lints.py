"""What works but is probably not meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pointsman.config.known import Known
from pointsman.config.lints import Examined, lint
from pointsman.config.lints_routes import implies
from pointsman.config.load import Loaded
from pointsman.routing.spec import Condition

Read = Callable[..., Loaded]

QUIET = """\
ledger: {path: l.db}
server: {keys: [{key: 'env:APP_KEY'}]}
providers: {house: {kind: vllm, url: 'http://127.0.0.1:1/v1'}}
deployments:
  - {model: openai/gpt-4.1}
  - {model: groq/llama-3.3-70b, name: fast}
  - {model: anthropic/claude-sonnet-4-5}
  - {provider: house, model: qwen}
"""


@pytest.fixture
def warned(read: Read, known: Known, env: Mapping[str, str]) -> Callable[..., list[str]]:
    """Warnings of a good file, without the file's name."""

    def make(text: str, **changed: str) -> list[str]:
        loaded = read(text, **changed)
        examined = Examined(loaded.settings, loaded.root, {**env, **changed}, known)
        return [problem.text("") for problem in lint(examined)]

    return make


Warned = Callable[..., list[str]]


def test_a_careful_file_has_no_warnings(warned: Warned) -> None:
    assert warned(QUIET) == []
    assert warned(QUIET + "routes: [{name: auto}]\n") == []


RULE_TABLE = """\
routes:
  - name: auto
    rules:
      - {name: first, when: FIRST, use: {strategy: cost}}
      - {name: second, when: SECOND, use: USE}
"""


@pytest.mark.parametrize(
    ("first", "second", "shadowed"),
    [
        ("{}", "{task: [code]}", True),
        ("{task: [code, math]}", "{task: [code], language: [zh]}", True),
        ("{task: [code]}", "{task: [code, math]}", False),
        ("{task: [code]}", "{}", False),
        ("{input_tokens_above: 10}", "{input_tokens_above: 20}", True),
        ("{input_tokens_above: 20}", "{input_tokens_above: 10}", False),
        ("{input_tokens_below: 20}", "{input_tokens_below: 10}", True),
        ("{needs: [tools]}", "{needs: [tools, vision]}", True),
        ("{needs: [tools, vision]}", "{needs: [tools]}", False),
        ("{sensitive: true}", "{sensitive: false}", False),
        ("{tags: {a: b}}", "{tags: {a: b, c: d}}", True),
        ("{tags: {a: b}}", "{tags: {a: c}}", False),
    ],
)
def test_a_rule_below_a_wider_one_never_fires(
    first: str, second: str, shadowed: bool, warned: Warned
) -> None:
    rules = RULE_TABLE.replace("FIRST", first).replace("SECOND", second)
    found = warned(QUIET + rules.replace("USE", "{strategy: load}"))
    expected = [
        ":13: routes[0].rules[1]: never fires: rule first above it takes every such request; put "
        "it first, or make the other narrower"
    ]
    assert found == (expected if shadowed else [])


def test_every_condition_implies_itself_and_the_empty_one() -> None:
    narrow = Condition(task=frozenset({"code"}), sensitive=True, input_tokens_below=5)
    assert implies(narrow, narrow)
    assert implies(narrow, Condition())
    assert not implies(Condition(), narrow)


CASES = [
    (
        "a deployment in no route",
        "routes: [{name: auto, deployments: [fast, house/qwen, openai/gpt-4.1]}]\n",
        ":7: deployments[2]: anthropic/claude-sonnet-4-5 is in no route; it answers only to its "
        "own name",
    ),
    (
        "a chain beyond the attempts",
        "routes: [{name: auto, fallback: {chain: ['openai/*', fast, 'house/*', 'anthropic/*']}}]\n",
        ":9: routes[0].fallback.chain: house/qwen, anthropic/claude-sonnet-4-5: reached only "
        "where an earlier one is passed over, since max_attempts is 3; write `max_attempts: 5`, "
        "or shorten it",
    ),
    (
        "a chain with falling back switched off",
        "routes: [{name: auto, fallback: {enabled: false, chain: [fast]}}]\n",
        ":9: routes[0].fallback.chain: never used: falling back is off; leave it out, or allow "
        "attempts",
    ),
    (
        "a chain with one attempt",
        "routes: [{name: auto, fallback: {max_attempts: 1, timeout: [fast]}}]\n",
        ":9: routes[0].fallback.timeout: never used: max_attempts is 1; leave it out, or allow "
        "attempts",
    ),
    (
        "sensitive content with nowhere to stay",
        "routes: [{name: a}, {name: auto, deployments: [fast, openai/gpt-4.1]}]\n",
        ":9: routes[1].sensitive_tiers: no deployment of tier local: secrets and personal data "
        "found in requests are not kept from any tier; add one, or say so: `sensitive_tiers: "
        "[frontier, workhorse, local]`",
    ),
    (
        "one deployment alone",
        "routes: [{name: a}, {name: auto, deployments: [house/qwen]}]\n",
        ":9: routes[1].deployments: only house/qwen: when it fails, nothing else can answer; add "
        "a second one, or a `fallback.chain`",
    ),
    (
        "a rule whose need nobody meets",
        "routes: [{name: a, rules: [{name: r, when: {needs: [audio]}, use: {strategy: cost}}]}]\n",
        ":9: routes[0].rules[0]: none of its deployments can audio: such requests are refused; "
        "let others answer too",
    ),
    (
        "a rule that sends sensitive content away",
        "routes: [{name: a, rules: [{name: r, when: {sensitive: true}, "
        "use: {tiers: [frontier]}}]}]\n",
        ":9: routes[0].rules[0]: sensitive requests stay on tier local, which it leaves out: all "
        "are refused; add the tier to the rule, or to `sensitive_tiers`",
    ),
    (
        "an order that nobody looks at",
        "routes: [{name: auto, strategy: cost, order: [fast]}]\n",
        ":9: routes[0].order: not looked at by strategy cost; write `strategy: static`",
    ),
    (
        "tiers that nobody looks at",
        "routes: [{name: auto, strategy: cost, tiers: [local]}]\n",
        ":9: routes[0].tiers: not looked at by strategy cost; write `strategy: tiers`",
    ),
    (
        "quality that is the same everywhere",
        "routes: [{name: auto}, {name: best, strategy: hybrid, weights: {quality: 1}, "
        "deployments: [openai/gpt-4.1, anthropic/claude-sonnet-4-5], "
        "sensitive_tiers: [workhorse, frontier, local]}]\n",
        ":9: routes[1].weights: quality has weight, but all deployments of the route have the "
        "same; state it, in [0, 1]",
    ),
    (
        "a wait that excludes nobody",
        "routes: [{name: auto, max_first_content_s: 60}]\n",
        ":9: routes[0].max_first_content_s: above timeouts.first_content_s, 30 s, so it excludes "
        "nobody; lower it",
    ),
    (
        "a wait too short for a model that reasons",
        "  - {model: openai/gpt-9, price: {input_usd: 1, output_usd: 2}, "
        "capabilities: [chat, reasoning]}\ntimeouts: {first_content_s: 20}\n",
        ":1: routes[0].timeouts.first_content_s: openai/gpt-9 may reason for longer than 20 s "
        "before any content; the default is 120 for them; or give them a route",
    ),
    (
        "a route that hides a deployment",
        "routes: [{name: a}, {name: fast, deployments: [fast, house/qwen]}]\n",
        ":9: routes[1]: fast is also a deployment: asking for it takes the route; rename one if "
        "that is not meant",
    ),
    (
        "an unknown price",
        "  - {model: openai/gpt-9, price: unknown}\n",
        ":9: deployments[4].price: the price of openai/gpt-9 is unknown: its cost is not counted; "
        "state it as soon as you know it",
    ),
]


@pytest.mark.parametrize(
    ("more", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_probably_not_meant_is_said(more: str, message: str, warned: Warned) -> None:
    assert warned(QUIET + more) == [message]


def test_a_bound_on_cost_keeps_unknown_prices_out(warned: Warned) -> None:
    text = QUIET + "  - {model: openai/gpt-9, price: unknown}\n"
    found = warned(text + "routes: [{name: auto, max_cost_usd: 1}]\n")
    assert found[1:] == [
        ":10: routes[0].max_cost_usd: keeps out openai/gpt-9, whose price is unknown; state the "
        "price, or leave the bound out"
    ]


def test_a_chain_to_elsewhere_is_a_way_out(warned: Warned) -> None:
    text = (
        QUIET
        + "routes: [{name: a}, {name: b, deployments: [house/qwen], fallback: {chain: [fast]}}]\n"
    )
    assert warned(text) == []


def test_a_key_that_no_deployment_uses_is_named(warned: Warned) -> None:
    assert warned(QUIET, DEEPSEEK_API_KEY="x") == [
        ":4: deployments: DEEPSEEK_API_KEY is set, but no deployment is at deepseek; add one, "
        "such as `- {model: deepseek/deepseek-v4-pro}`"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "server: {keys: [{key: 'env:APP_KEY'}]}",
            "server: {host: 0.0.0.0}",
            ":2: server.keys: anybody who reaches 0.0.0.0:4000 may call: there are no keys; write "
            "`keys: [{key: env:NAME}]`",
        ),
        (
            "ledger: {path: l.db}",
            "ledger: {flush_s: 1}",
            ":1: ledger.path: the ledger is kept in memory and lost when the server stops; write "
            "`ledger: {path: pointsman.db}`",
        ),
        (
            "http://127.0.0.1:1/v1",
            "http://models.example.com/v1",
            ":3: providers.house.url: prompts and key travel unencrypted; write https://",
        ),
        (
            "{kind: vllm, url: 'http://127.0.0.1:1/v1'}",
            "{kind: vllm, url: 'https://h/v1', verify_tls: false}",
            ":3: providers.house.verify_tls: anybody on the way can read along; give the "
            "authority as `ca_file:`",
        ),
    ],
)
def test_an_open_door_is_pointed_at(old: str, new: str, message: str, warned: Warned) -> None:
    assert warned(QUIET.replace(old, new)) == [message]


def test_a_short_key_can_be_guessed(warned: Warned) -> None:
    assert warned(QUIET, APP_KEY="sk-1234") == [
        ":2: server.keys[0].key: the key of APP_KEY is shorter than 16 characters; make one: "
        "`openssl rand -hex 24`"
    ]


MONEY_CASES = [
    (
        "a team that no key has, beside keys of the store",
        "budgets: [{name: b, scope: team, limit_usd: 9}]\n",
        "budgets[0]: counts nobody: no key of this file has a team; write `team:` on keys",
    ),
    (
        "another team than the keys'",
        "budgets: [{name: a, scope: everyone, limit_usd: 9}, "
        "{name: b, scope: key, match: [shop, web], limit_usd: 9}]\n",
        "budgets[1]: counts nobody: no key of this file has the key `shop` or `web`; create one",
    ),
    (
        "a tenant that no key is of",
        "rates: [{name: r, scope: user, tenant: acme, requests_per_minute: 9}]\n",
        "rates[0]: counts nobody: no key of this file is of tenant acme; write `tenant: acme` on a "
        "key",
    ),
    (
        "a budget that nobody draws on",
        "budgets: [{name: promo, scope: named, limit_usd: 9}]\n",
        "budgets[0]: counts nobody: no key of this file draws on it; write `limits: {budgets: "
        "[promo]}` on a key",
    ),
    (
        "a route that is not there",
        "budgets: [{name: b, scope: route, match: [best], limit_usd: 9}]\n",
        "budgets[0].match: counts nobody: no route is called `best`; there are `auto` or `direct`",
    ),
    (
        "nothing cheaper",
        "budgets: [{name: b, scope: everyone, limit_usd: 9, at_cap: downgrade}]\n"
        "routes: [{name: auto}, {name: one, deployments: [fast], sensitive_tiers: [workhorse], "
        "fallback: {enabled: false}}]\n",
        "budgets[0].at_cap: nothing is cheaper on route one: there it refuses; add a cheaper "
        "deployment, or write `at_cap: reject`",
    ),
    (
        "a price that nobody knows",
        "  - {model: openai/gpt-9, price: unknown, output_tokens: 9}\n"
        "budgets: [{name: b, scope: everyone, limit_usd: 9}]\n",
        "deployments[4].price: openai/gpt-9 is never asked where b counts: no price is known; "
        "state it, or `price: free`",
    ),
    (
        "less than any request holds",
        "budgets: [{name: b, scope: provider, match: [openai], limit_usd: 0.01}]\n",
        "budgets[0]: $0.0100 is less than any request holds that states no longest answer: "
        "openai/gpt-4.1 holds $0.0657 for 8,192 tokens; raise it, or write `default_max_tokens` on "
        "deployments",
    ),
    (
        "answers that are cut",
        "  - {provider: house, model: other}\n"
        "budgets: [{name: b, scope: model, match: [other], limit_usd: 9}]\n",
        "deployments[4]: house/other answers no longer than 4,096 tokens where b counts and the "
        "request states no more: no longest answer is known; write `output_tokens` or "
        "`default_max_tokens`",
    ),
]
MONEY_QUIET = QUIET.replace("model: qwen", "model: qwen, output_tokens: 4000").replace(
    "name: fast", "name: fast, output_tokens: 4000"
)


@pytest.mark.parametrize(
    ("more", "message"), [case[1:] for case in MONEY_CASES], ids=[case[0] for case in MONEY_CASES]
)
def test_what_is_probably_not_meant_of_money_is_said(
    more: str, message: str, warned: Warned
) -> None:
    found = [each.partition(": ")[2] for each in warned(MONEY_QUIET + more)]
    assert found == [message]


@pytest.mark.parametrize(
    "more",
    [
        "budgets: [{name: b, scope: everyone, limit_usd: 9, at_cap: downgrade}]\n",
        "budgets: [{name: b, scope: tag, tag: page, match: [home], limit_usd: 9}]\n",
        "budgets: [{name: b, scope: run, limit_usd: 9}, {name: c, scope: key, limit_usd: 9}]\n",
        "budgets: [{name: b, scope: model, match: [gpt-4.1], limit_usd: 9}]\n",
        "budgets: [{name: b, scope: provider, match: [openai], limit_usd: 0.01, mode: tight}]\n",
        "budgets: [{name: none, scope: provider, match: [openai], limit_usd: 0}]\n",
        "rates: [{name: r, scope: user, requests_per_minute: 9, usd_per_minute: 1}]\n",
    ],
)
def test_budgets_that_count_have_no_warnings(more: str, warned: Warned) -> None:
    assert warned(MONEY_QUIET + more) == []


def test_keys_of_the_store_may_have_any_team(warned: Warned) -> None:
    text = MONEY_QUIET.replace("server: {keys: [{key: 'env:APP_KEY'}]}\n", "")
    teams = "budgets: [{name: b, scope: team, limit_usd: 9}]\n"
    assert warned(text + teams) == []
    found = warned(text.replace("ledger: {path: l.db}\n", "") + teams)
    assert any("counts nobody: no key has a team" in each for each in found)


def test_a_ledger_in_a_database_is_not_lost(warned: Warned) -> None:
    text = QUIET.replace("path: l.db", "url: 'env:DB'")
    assert warned(text, DB="postgresql://u:p@db/x") == []
