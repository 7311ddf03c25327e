"""The file's blocks about providers, deployments and prices."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from pointsman.config.schema_words import (
    Block,
    Count,
    Residency,
    Seconds,
    SecretRef,
    SecretRefOrNone,
    Share,
    Tokens,
    Usd,
    Word,
)
from pointsman.domain.deployment import Tier


class RatesBlock(Block, frozen=True, kw_only=True):
    """Prices in USD per million tokens."""

    input_usd: Annotated[Usd, Meta(description="USD per million input tokens.")]
    output_usd: Annotated[Usd, Meta(description="USD per million output tokens.")]
    cached_input_usd: Annotated[
        Usd | None,
        Meta(description="USD per million input tokens read from cache; default input_usd."),
    ] = None
    cache_write_usd: Annotated[
        Usd | None,
        Meta(description="USD per million tokens written to cache; default input_usd."),
    ] = None
    cache_write_1h_usd: Annotated[
        Usd | None,
        Meta(description="The same for one-hour cache entries; default cache_write_usd."),
    ] = None


class StepBlock(RatesBlock, frozen=True, kw_only=True):
    """Prices of a whole request whose input is longer than a threshold."""

    input_tokens: Annotated[
        Tokens, Meta(description="These prices hold for requests with more input tokens than this.")
    ]


class PriceBlock(RatesBlock, frozen=True, kw_only=True):
    """What a deployment charges, in USD per million tokens."""

    above: Annotated[
        tuple[StepBlock, ...], Meta(description="Prices for long requests, by input tokens.")
    ] = ()
    batch: Annotated[
        RatesBlock | None, Meta(description="Prices of the provider's batch lane.")
    ] = None


class ProviderBlock(Block, frozen=True, kw_only=True):
    """A company's API or a local server; keys left out are the catalogue's."""

    key: Annotated[
        SecretRefOrNone | None,
        Meta(
            description="API key as env:NAME or file:PATH; `none` for a server that wants none. "
            "Default: the catalogue's variable."
        ),
    ] = None
    keys: Annotated[
        tuple[SecretRef, ...],
        Meta(
            description="Several keys instead of `key`: the first that the provider takes is used. "
            "To rotate, put the new one in front of the old one."
        ),
    ] = ()
    like: Annotated[
        Word | None,
        Meta(description="Catalogue name this one starts from: a second account or region."),
    ] = None
    url: Annotated[
        Word | None,
        Meta(description="Base URL, such as https://host/v1, or env:NAME for a variable with it."),
    ] = None
    dialect: Annotated[
        Literal["openai", "anthropic"] | None,
        Meta(description="Wire format; needed for a name that is not in the catalogue."),
    ] = None
    kind: Annotated[
        Literal["hosted", "ollama", "vllm", "llamacpp"] | None,
        Meta(
            description="Whose machine and which server: `ollama`, `vllm` and `llamacpp` are local "
            "(no key, free, tier local), `hosted` is not."
        ),
    ] = None
    tier: Annotated[
        Tier | None, Meta(description="Tier of this provider's deployments that name none.")
    ] = None
    residency: Annotated[
        Residency | None, Meta(description="Where the data stays, such as `eu`; for all models.")
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers sent with every request; secret ones as env: or file:."),
    ] = field(default_factory=dict)
    query: Annotated[
        str, Meta(description="Query added to every URL, such as `api-version=2024-10-21`.")
    ] = ""
    path_style: Annotated[
        Literal["plain", "azure"] | None,
        Meta(description="`azure` puts the deployment's model into the path."),
    ] = None
    verify_tls: Annotated[
        bool, Meta(description="Check the server's certificate; false only for tests.")
    ] = True
    ca_file: Annotated[
        Word | None,
        Meta(description="Certificate authorities in PEM, relative to this file."),
    ] = None
    allow_private: Annotated[
        bool | None,
        Meta(
            description="Let the URL's name lead into a private network. Default: for local "
            "servers; an address written out, `localhost`, `.local` and `.internal` need it not."
        ),
    ] = None
    load_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How often a local server is asked for its load, in seconds; 0 never.",
        ),
    ] = 1.0


class PreloadBlock(Block, frozen=True, kw_only=True):
    """What is made ready before requests come."""

    connection: Annotated[
        bool, Meta(description="Open a connection at the start and keep one open.")
    ] = True
    model: Annotated[
        bool, Meta(description="Have a local server load the model at the start and keep it.")
    ] = False
    hours: Annotated[
        tuple[str, ...],
        Meta(
            description="When to have it ready, such as `mon-fri 08:00-18:00` in local time; "
            "default always."
        ),
    ] = ()
    predict: Annotated[
        bool,
        Meta(description="Have it ready in the hours in which there was traffic on earlier days."),
    ] = False
    keep_s: Annotated[
        Seconds, Meta(description="How long a local server keeps an idle model, in seconds.")
    ] = 1800.0


class DeploymentBlock(Block, frozen=True, kw_only=True):
    """One model at one provider."""

    model: Annotated[
        Word, Meta(description="The model's name at the provider, or `provider/model` in one.")
    ]
    provider: Annotated[
        Word | None, Meta(description="A provider of this file or of the catalogue.")
    ] = None
    name: Annotated[
        Word | None,
        Meta(description="Unique name in metrics, ledger and routes; default provider/model."),
    ] = None
    tier: Annotated[
        Tier | None,
        Meta(description="frontier, workhorse or local; default by provider and price."),
    ] = None
    price: Annotated[
        Literal["free", "unknown"] | PriceBlock | None,
        Meta(
            description="USD per million tokens, `free`, or `unknown`. Default: the shipped list; "
            "a hosted model that is not on it must say."
        ),
    ] = None
    context_tokens: Annotated[
        Tokens | None, Meta(description="Longest input plus output, in tokens.")
    ] = None
    output_tokens: Annotated[Tokens | None, Meta(description="Longest answer, in tokens.")] = None
    max_in_flight: Annotated[Count | None, Meta(description="Attempts at once.")] = None
    adaptive: Annotated[
        bool, Meta(description="Learn how many attempts at once it can bear, and keep to it.")
    ] = True
    preload: Annotated[
        PreloadBlock | None, Meta(description="What is made ready before requests come.")
    ] = None
    requests_per_minute: Annotated[
        Count | None, Meta(description="Requests a minute, as the provider grants them.")
    ] = None
    tokens_per_minute: Annotated[
        Count | None, Meta(description="Tokens a minute, as the provider grants them.")
    ] = None
    capabilities: Annotated[
        tuple[str, ...] | None,
        Meta(description="What it can do, replacing the shipped facts; own words as x-something."),
    ] = None
    residency: Annotated[
        Residency | None, Meta(description="Where the data stays, such as `eu`.")
    ] = None
    weight: Annotated[
        float,
        Meta(ge=0, description="Share of the traffic under strategies weighted, load and latency."),
    ] = 1.0
    quality: Annotated[
        Share | None, Meta(description="How good its answers are, in [0, 1]; a declared prior.")
    ] = None
    default_max_tokens: Annotated[
        Tokens | None,
        Meta(description="Longest answer to ask for where the caller names none, in tokens."),
    ] = None
    tags: Annotated[tuple[str, ...], Meta(description="Your own words.")] = ()
