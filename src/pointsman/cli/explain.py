"""`pointsman explain`: which deployment would answer, and why; nobody is called."""

from __future__ import annotations

import asyncio

import click
import orjson


@click.command(epilog="Example: pointsman explain --model auto 'Prove that 2 is prime'")
@click.argument("question")
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="The configuration file.")
@click.option("-m", "--model", default="auto", show_default=True, help="A route or deployment.")
@click.option("--prefer", type=click.Choice(["cost", "speed", "quality", "balanced"]))
@click.option("--max-cost-usd", type=click.FloatRange(0), help="The most it may cost, dollars.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    question: str,
    config: str | None,
    model: str,
    prefer: str | None,
    max_cost_usd: float | None,
    as_json: bool,
) -> None:
    """Decide for QUESTION and show the candidates, part by part, and the rejected."""
    asyncio.run(_explain(question, config, model, prefer, max_cost_usd, as_json))


async def _explain(
    question: str,
    config: str | None,
    model: str,
    prefer: str | None,
    max_cost_usd: float | None,
    as_json: bool,
) -> None:
    from pointsman.cli.explanation import print_explanation
    from pointsman.domain.money import from_usd
    from pointsman.domain.request import RouteOptions
    from pointsman.gateway import Gateway
    from pointsman.server.entry import read_settings_async

    settings, _ = await read_settings_async(config, None)
    options = RouteOptions(
        prefer=prefer,  # type: ignore[arg-type]
        max_cost_nano=None if max_cost_usd is None else from_usd(max_cost_usd),
    )
    async with Gateway(settings) as gateway:
        explanation = gateway.explain_chat(
            [{"role": "user", "content": question}], model=model, options=options
        )
    if as_json:
        click.echo(orjson.dumps(explanation, option=orjson.OPT_INDENT_2))
    else:
        print_explanation(explanation)
