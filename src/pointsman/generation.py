"""A generation: everything that follows from one configuration, immutable once it serves.

A reload builds the next generation beside the running one and swaps it in between two requests.
A call keeps the generation it began with: its stacks live until its last attempt has ended, for
it holds them. A deployment that the new configuration leaves as it was is *carried over* with
its stack and all that was measured there: a reload does not forget that a provider is down.
"""

from __future__ import annotations

import random
from dataclasses import replace

from pointsman.composition import (
    Parts,
    account_of,
    chain_of,
    counts,
    dispatch_of,
    provider_of,
    retries_of,
    stack_of,
    watches,
)
from pointsman.config.describe import TYPICAL
from pointsman.config.meaning import meaning
from pointsman.config.settings import ProviderSettings, Route, Settings
from pointsman.domain.call import Caller, Timeouts
from pointsman.domain.content import Json, JsonObject
from pointsman.domain.deployment import TIERS, Deployment
from pointsman.domain.request import RouteOptions
from pointsman.errors import PermissionDenied
from pointsman.pipeline.account import Account
from pointsman.pipeline.build import DeploymentStack
from pointsman.pipeline.call import Call
from pointsman.pipeline.provider_health import ProviderHealth
from pointsman.providers.keys import KeyChain, keys_of
from pointsman.routing.failover import plan_of
from pointsman.routing.names import Names, Target
from pointsman.routing.policy import decide, explain
from pointsman.routing.retries import RetryBudgets
from pointsman.routing.spec import PolicySpec

DIRECT = "direct"
"""The route of a request that names its deployment itself."""


class Generation:
    """`before` is the generation that serves now, which stacks are carried over from.

    `id` is the digest of what the configuration means. Building one changes nothing of what
    serves; `take_effect` does, and is called on the event loop.
    """

    def __init__(self, settings: Settings, parts: Parts, before: Generation | None = None) -> None:
        self.settings = settings
        self.id = meaning(settings)
        self._parts = parts
        self.retries: RetryBudgets = (
            before.retries
            if before is not None and before.settings.retry == settings.retry
            else retries_of(settings.retry)
        )
        self.keys = {name: self._chain(each, before) for name, each in settings.providers.items()}
        self.providers = {name: self._provider(name, before) for name in settings.providers}
        self.stacks = {each.name: self._stack(each, before) for each in settings.deployments}
        if before is None:
            self._look_after()
        self._names = Names(
            {route.name: route.aliases for route in settings.routes}, settings.deployments
        )
        self.is_counted = counts(settings)
        """Whether requests count in budgets at all."""
        shelf = parts.shelf
        self._cached = None if shelf is None else shelf.layer(settings, self.id)
        self._routes = {route.name: self._account(route) for route in settings.routes}
        self._members = {
            route.name: tuple(each.name for each in route.deployments) for route in settings.routes
        }
        self._timeouts = {route.name: route.timeouts for route in settings.routes}
        self._pinned: dict[tuple[str, ...], Account] = {}

    def _chain(self, provider: ProviderSettings, before: Generation | None) -> KeyChain:
        """Keep a provider's chain where only its keys change: `take_effect` renews it."""
        chain = None
        if before is not None and _same_place(
            before.settings.providers.get(provider.name), provider
        ):
            chain = before.keys.get(provider.name)
        return chain if chain is not None else chain_of(provider, self._parts)

    def _provider(self, name: str, before: Generation | None) -> ProviderHealth:
        """Remember that a provider is out, where it is still the same one."""
        if (
            before is not None
            and before.settings.breaker == self.settings.breaker
            and before.keys.get(name) is self.keys[name]
        ):
            return before.providers[name]
        return provider_of(name, self.settings, self._parts)

    def _look_after(self) -> None:
        for name, provider in self.providers.items():
            stacks = self.stacks.values()
            provider.keep(each.breaker for each in stacks if each.deployment.provider == name)

    def _stack(self, deployment: Deployment, before: Generation | None) -> DeploymentStack:
        """Carry a stack over where nothing that it was built from has changed.

        Other keys alone are no change, unless the breaker is not closed: it may be for the old
        keys that the provider refuses us, and the new ones deserve to be tried at once.
        """
        keys = self.keys[deployment.provider]
        provider = self.settings.providers[deployment.provider]
        if before is not None:
            stack = before.stacks.get(deployment.name)
            was = before.settings.providers.get(deployment.provider)
            if (
                stack is not None
                and was is not None
                and stack.deployment == deployment
                and before.settings.breaker == self.settings.breaker
                and before.keys[deployment.provider] is keys
                and (keys_of(was) == keys_of(provider) or stack.breaker.is_closed)
            ):
                return stack
        health = self.providers[deployment.provider]
        return stack_of(deployment, self.settings, keys, health, self._parts)

    def rehearse(self) -> None:
        """Decide a typical request on every route, as `pointsman check` does; calls nobody.

        What a configuration that passed every check still breaks, it breaks here.
        """
        for name, account in self._routes.items():
            dispatch = dispatch_of(account)
            decision = decide(
                dispatch.policy, name, TYPICAL, dispatch.route.deployments, {}, random.Random(0)
            )
            plan_of(decision, dispatch.route.fallback, RouteOptions())

    def take_effect(self) -> None:
        """Let carried providers use this generation's keys from now on, each of them anew."""
        for name, chain in self.keys.items():
            chain.renew(keys_of(self.settings.providers[name]))
        self._look_after()

    def _account(self, route: Route) -> Account:
        return account_of(
            route,
            self.stacks,
            self.retries,
            self._parts,
            is_counted=self.is_counted,
            is_watched=watches(self.settings.alerts),
            cached=self._cached,
        )

    # What a call asks of it.

    def resolve(self, model: str, param: str = "model") -> Target:
        """What a client's `model` means. Raises UnknownModel."""
        return self._names.resolve(model, param=param)

    def timeouts_of(self, target: Target) -> Timeouts:
        return self._timeouts.get(target.route or "", self.settings.timeouts)

    def stack_for(self, call: Call) -> Account:
        """The stack that answers a call. Raises UnknownModel and PermissionDenied."""
        if not self.is_counted:
            _refuse_limits(call.caller)
        target = self._names.resolve(call.request.model)
        if target.route is not None:
            _allow(call.caller, target.route)
            return self._routes[target.route]
        for pinned in target.pinned:
            _allow(call.caller, pinned, DIRECT)
        return self._direct(target.pinned)

    def fallbacks(self, caller: Caller, names: tuple[str, ...]) -> tuple[str, ...]:
        """Turn what a caller may write as a model into deployments, if the caller may use them."""
        found: dict[str, None] = {}
        for name in names:
            target = self._names.resolve(name, param="fallbacks")
            if target.route is not None:
                _allow(caller, target.route)
                found.update(dict.fromkeys(self._members[target.route]))
            for pinned in target.pinned:
                _allow(caller, pinned, DIRECT)
                found[pinned] = None
        return tuple(found)

    def _direct(self, pinned: tuple[str, ...]) -> Account:
        """The stack of a request that names its model: that model, and the fallbacks it names.

        Who names a model has chosen where the data goes: no rule of a route applies.
        """
        account = self._pinned.get(pinned)
        if account is None:
            route = Route(
                DIRECT,
                tuple(self.stacks[name].deployment for name in pinned),
                PolicySpec(strategy="static", order=pinned, sensitive_tiers=TIERS),
            )
            account = self._pinned[pinned] = self._account(route)
        return account

    def explain(self, call: Call) -> JsonObject:
        """Decide without calling anybody, and tell why."""
        dispatch = dispatch_of(self.stack_for(call))
        features = dispatch.features(call)
        told = explain(dispatch.consider(features, random.Random(0), 0))
        told["features"] = {
            "input_tokens": features.input_tokens,
            "output_tokens": features.output_tokens,
            "needs": list[Json](sorted(features.needs)),
            "task": features.task,
            "language": features.language,
            "sensitive": features.sensitive,
        }
        return told

    def models(self, caller: Caller) -> list[JsonObject]:
        """List what this caller may ask for, in OpenAI's shape: routes first."""
        routes: list[JsonObject] = [
            {"id": route.name, "object": "model", "created": 0, "owned_by": "pointsman"}
            for route in self.settings.routes
            if caller.allows(route.name)
        ]
        deployments: list[JsonObject] = [
            {
                "id": deployment.name,
                "object": "model",
                "created": 0,
                "owned_by": deployment.provider,
                "tier": deployment.tier,
                "context_window": deployment.limits.context_tokens,
                "capabilities": list[Json](sorted(deployment.capabilities)),
            }
            for deployment in self.settings.deployments
            if caller.allows(DIRECT) or caller.allows(deployment.name)
        ]
        return routes + deployments

    def stacks_shown(self) -> str:
        """Both kinds of stacks, a line for each."""
        lines = [f"  route {name}: {account!r}" for name, account in self._routes.items()]
        return "\n".join([*lines, *(f"  {stack!r}" for stack in self.stacks.values())])

    def __repr__(self) -> str:
        return f"Generation({self.id}, {self.settings.origin})"


def _same_place(was: ProviderSettings | None, now: ProviderSettings) -> bool:
    """The same provider but for its keys."""
    if was is None:
        return False
    return replace(was, key=None, spare_keys=()) == replace(now, key=None, spare_keys=())


def _allow(caller: Caller, *names: str) -> None:
    if not any(caller.allows(name) for name in names):
        raise PermissionDenied(
            f"the API key may not use {names[0]!r}; it may use "
            f"{', '.join(sorted(caller.routes or ()))}",
            param="model",
        )


def _refuse_limits(caller: Caller) -> None:
    """Limits that nobody counts are none: whoever has some is refused."""
    if caller.budgets or caller.limits:
        name = (*caller.budgets, *(each.name for each in caller.limits))[0]
        raise PermissionDenied(
            f"key {caller.key}: has the budget {name!r}, and this gateway keeps none; configure "
            "`budgets` or a ledger",
            code="unknown_budget",
            param=name,
        )
