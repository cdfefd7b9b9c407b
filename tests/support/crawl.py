"""Use everything that the bot offers, as a member does who presses whatever they see."""

import re

from discord import AppCommandOptionType as Kind
from simcord.backend import serializers

from tests.support.actions import RESULT
from tests.support.interactions import forge_click
from tests.support.messages import png
from tests.support.settings_panel import form_values

FILE_UPLOAD, SELECT = 19, 3
VALUES = {"prompt": "red apple", "from": "red apple", "to": "a pear", "size": "32x32", "region": "left", "steps": 3}
VALUES |= {"word": "gun", "name": "mine", "text": "watercolour"}
LAST = re.compile(r"darkroom:(?:result:)?(?:delete|forget|cancel)")  # what ends that with which others go on


class Crawl:
    """Uses commands in ``server`` as ``member`` and presses all that comes of them.

    ``used`` has the custom_ids that were pressed, with 1 for numbers, and the entries that were chosen.
    """

    def __init__(self, server, member):
        self.server = server
        self.member = member
        self.used = set()

    async def command(self, command, files=0, **options):
        """Use a command with what it requires, ``files`` pictures and ``options``; then press all that is new."""
        for each in command.parameters:
            if each.autocomplete:
                await self.member.autocomplete(self.server.channel, command.qualified_name, each.display_name, "")
        attached = [each.display_name for each in command.parameters if each.type is Kind.attachment][:files]
        given = {name: (f"{name}.png", png()) for name in attached}
        given |= {each.display_name: self._proper(each) for each in command.parameters if each.required} | options
        await self.follow(await self.member.slash(self.server.channel, command.qualified_name, **given))
        await self.press_all()

    async def press_all(self):
        """Press each kind of button, choose each kind of entry and send each form, until nothing new is shown."""
        while fresh := self._fresh():
            message, control, value = min(fresh, key=lambda each: bool(LAST.match(each[1]["custom_id"])))
            self.used.add(_kind(control, value))
            chosen = {"component_type": control["type"], "values": [value]} if value is not None else {}
            await self.follow(await forge_click(self.server, self.member, message, control["custom_id"], **chosen))

    def unused(self, bot):
        """What the bot would answer, and nobody has pressed: the templates of custom_ids, and actions under pictures."""
        pressed = [custom_id for custom_id, _ in self.used]
        templates = [template.pattern for template in bot._connection._view_store._dynamic_items]
        found = [template for template in templates if not any(re.fullmatch(template, each) for each in pressed)]
        actions = bot.service.result_actions
        chosen = {each.split(":")[2] for each in pressed if each.startswith(RESULT)} | {value for _, value in self.used}
        return found + [name for name in actions.names if actions[name].label and name not in chosen]

    def _proper(self, parameter):
        if parameter.choices:
            return parameter.choices[0].value
        if parameter.display_name in VALUES:
            return VALUES[parameter.display_name]
        if parameter.type is Kind.role:
            return self.server.guild.create_role("painters")
        return {Kind.string: "fox", Kind.integer: 1, Kind.boolean: True, Kind.channel: self.server.channel}[parameter.type]

    async def follow(self, result):
        """Send the form that is the answer, if it is one, and wait for what comes of it."""
        if result.modal:
            await self.member.submit_modal(result, _filled(result))
        await self.server.until_idle()

    def _fresh(self):
        """What can be pressed or chosen and was not yet, with its message."""
        backend = self.server.env.backend
        return [
            (message, control, value)
            for message in list(backend.messages[self.server.channel.id].values())
            for control in _controls(serializers.message_payload(backend, message)["components"])
            for value in [option["value"] for option in control.get("options", ())] or [None]
            if _kind(control, value) not in self.used
        ]


def _kind(control, value):
    return tuple(part and re.sub(r"(?<![^:])\d+(?![^:])", "1", part) for part in (control["custom_id"], value))


def _controls(components):
    for component in components:
        if "custom_id" in component and not component.get("disabled"):
            yield component
        yield from _controls([*component.get("components", ()), *filter(None, [component.get("accessory")])])


def _filled(form):
    """What a form holds already, and something for each field that needs more."""
    values = form_values(form)
    for control in (label["component"] for label in form.modal["components"]):
        name = control["custom_id"]
        if control["type"] == FILE_UPLOAD:
            values[name] = [(f"{number}.png", png()) for number in range(control.get("min_values") or 0)]
        elif control["type"] == SELECT and control.get("required", True) and not values[name]:
            values[name] = [control["options"][0]["value"]]
        elif control.get("required") and not values.get(name):
            values[name] = "fox"
    return values
