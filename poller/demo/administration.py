"""What administrators do, and Okta itself when HR's records change: the raw events that Okta writes about it.

An actor without a client is a job of Okta's own. Times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from poller.demo.okta_events import SYSTEM, App, Client, Event, Ids, Person, event, named


@dataclass(frozen=True)
class Group:
    """A group of users."""

    uid: str
    name: str

    def target(self) -> dict[str, Any]:
        return named(self.uid, "UserGroup", self.name)


@dataclass
class Administration:
    """What one administrator does from one place, in one session."""

    ids: Ids
    actor: Person = SYSTEM
    client: Client | None = None
    session: str = ""

    def user_created(self, time: int, user: Person) -> list[Event]:
        transaction = self.ids.hex()
        user_block = [user.block()]
        return [
            self._event(time, "user.lifecycle.create", "Create Okta user", user_block, "core.user.config.user_create")
            | {"severity": "INFO"},
            self._event(
                time + 240,
                "user.lifecycle.activate",
                "Activate Okta user",
                [user.block()],
                "core.user.config.user_activated",
                transaction,
            ),
        ]

    def group_joined(self, time: int, user: Person, group: Group) -> list[Event]:
        message = "Add user to group membership"
        targets = [user.block(), group.target()]
        return [self._event(time, "group.user_membership.add", message, targets, "core.user_group_member.user_add")]

    def group_left(self, time: int, user: Person, group: Group) -> list[Event]:
        message = "Remove user from group membership"
        targets = [user.block(), group.target()]
        return [
            self._event(time, "group.user_membership.remove", message, targets, "core.user_group_member.user_remove")
        ]

    def app_assigned(self, time: int, user: Person, app: App) -> list[Event]:
        message = "Add user to application membership"
        targets = [
            named(f"0ua{user.uid[3:12]}{app.uid[12:]}", "AppUser", user.name, user.login),
            app.target(),
            user.block(),
        ]
        return [
            self._event(time, "application.user_membership.add", message, targets, "app.generic.config.app_user_add")
        ]

    def profile_updated(self, time: int, user: Person) -> list[Event]:
        targets = [user.block()]
        return [self._event(time, "user.account.update_profile", "Update user profile for Okta", targets)]

    def password_reset(self, time: int, user: Person) -> list[Event]:
        message, legacy = "Fired when the user's Okta password is reset", "core.user.config.password_update.success"
        return [self._event(time, "user.account.reset_password", message, [user.block()], legacy)]

    def app_changed(self, time: int, app: App) -> list[Event]:
        message, legacy = "Update application", "app.generic.config.app_updated"
        return [self._event(time, "application.lifecycle.update", message, [app.target()], legacy)]

    def rule_changed(self, time: int) -> list[Event]:
        """A sign-on rule now asks for a factor at every sign-in rather than once a session."""
        rule = named("rul1f2k0bPl8OkIj5d7z", "PolicyRule", "Staff", "rst1f2k0aQw9ErTy5d7z", policyType="ACCESS_POLICY")
        rule["changeDetails"] = {"from": {"reauthenticateIn": "PT12H"}, "to": {"reauthenticateIn": "PT0S"}}
        policy = named("rst1f2k0aQw9ErTy5d7z", "PolicyEntity", "Any two factors", policyType="ACCESS_POLICY")
        return [self._event(time, "policy.rule.update", "Update policy rule", [policy, rule])]

    def _event(
        self,
        time: int,
        event_type: str,
        message: str,
        targets: list[dict[str, Any]],
        legacy: str = "",
        transaction: str = "",
    ) -> Event:
        return event(
            self.ids,
            time,
            event_type,
            message,
            self.actor.block(),
            client=self.client,
            session=self.session,
            legacy=legacy,
            transaction=transaction,
            debug={"requestUri": "/api/internal/administration", "url": "/api/internal/administration?"}
            if self.client
            else {"jobName": "Profile source import"},
            targets=targets,
        )
