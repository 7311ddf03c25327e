"""`pointsman chat`: one question, one answer, and what it cost."""

from __future__ import annotations

import asyncio

import click
import orjson


@click.command(epilog="Example: pointsman chat --model auto:cheap 'What is a pointsman?'")
@click.argument("question")
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="The configuration file.")
@click.option("-m", "--model", default="auto", show_default=True, help="A route or deployment.")
@click.option("-s", "--system", help="A system message.")
@click.option("--max-tokens", type=click.IntRange(1), help="The longest answer, in tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def chat(
    question: str,
    config: str | None,
    model: str,
    system: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Send QUESTION through the gateway, in this process, and stream the answer."""
    messages = [{"role": "user", "content": question}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    asyncio.run(_chat(messages, config, model, max_tokens, as_json))


async def _chat(
    messages: list[dict[str, str]],
    config: str | None,
    model: str,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    from pointsman.domain.money import format_usd, from_usd
    from pointsman.domain.reply import TextDelta
    from pointsman.gateway import Gateway
    from pointsman.server.entry import read_settings_async

    settings, _ = await read_settings_async(config, None)
    async with Gateway(settings) as gateway:
        text: list[str] = []
        async with await gateway.stream(messages, model=model, max_tokens=max_tokens) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    text.append(event.text)
                    if not as_json:
                        click.echo(event.text, nl=False)
        usage, cost = events.usage, events.cost_usd
        assert usage is not None
        if as_json:
            answer = {
                "text": "".join(text),
                "request_id": events.request_id,
                "deployment": events.deployment.name,
                "route": None if events.decision is None else events.decision.route,
                "cached": events.is_cached,
                "input_tokens": usage.input,
                "output_tokens": usage.output,
                "cost_usd": None if cost is None else f"{cost:f}",
            }
            click.echo(orjson.dumps(answer))
            return
        price = "unknown" if cost is None else format_usd(from_usd(cost))
        click.echo(
            f"\n— {events.deployment.name}, {usage.input} + {usage.output} tokens, {price}",
            err=True,
        )
