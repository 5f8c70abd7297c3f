# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What oned's API answers: method by method, without any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import datastores
from .allocation import Allocation
from .managing import Managing
from .states import VmState
from .store import NotFoundError, Oned
from .xmldoc import Element, node, text

AUTHENTICATION = 0x0100
AUTHORIZATION = 0x0200
NO_EXISTS = 0x0400
ACTION = 0x0800
XML_RPC_API = 0x1000
INTERNAL = 0x2000

Answer = list[object]
#: Methods that wait for drivers; they are given the user's id too.
_BY_DRIVERS = ("one.image.allocate", "one.image.delete", "one.template.allocate")


class UnknownMethodError(LookupError):
    """The API has no such method."""


class Api:
    """Answers API calls from the documents. Every answer is [success, value or message, code, object id]."""

    def __init__(self, oned: Oned) -> None:
        self._oned = oned
        #: Its part in an HA set: 0 for none, 2 follows, 3 leads.
        self.raft = 0
        self._methods: dict[str, Callable[[str, Sequence[object]], Answer]] = {
            "one.vm.info": self._info("virtual machine", lambda number: oned.vm(number).element()),
            "one.image.info": self._info("image", lambda number: oned.image(number).element()),
            "one.datastore.info": self._datastore_info,
            "one.datastore.allocate": self._datastore_allocate,
            "one.datastore.update": self._datastore_update,
            "one.datastore.rename": self._datastore_rename,
            "one.image.allocate": self._image_allocate,
            "one.image.delete": self._image_delete,
            "one.template.allocate": self._template_allocate,
            "one.host.info": self._info("host", lambda number: oned.host(number).element()),
            "one.vmpool.info": self._vm_pool(lambda number: oned.vm(number).short()),
            "one.vmpool.infoextended": self._vm_pool(lambda number: oned.vm(number).element()),
            "one.imagepool.info": self._ranged_pool("IMAGE_POOL", lambda: _values(oned.images)),
            "one.datastorepool.info": self._pool("DATASTORE_POOL", lambda: _values(oned.datastores)),
            "one.hostpool.info": self._pool("HOST_POOL", lambda: _values(oned.hosts)),
            "one.templatepool.info": self._template_pool,
            "one.zone.raftstatus": lambda method, given: _success(
                node("RAFT", [text("SERVER_ID", -1), text("STATE", self.raft)]).render()
            ),
            "one.system.version": lambda method, given: _success(oned.settings.version),
        }

    def call(self, method: str, arguments: Sequence[object]) -> Answer:
        """Answers one call. Raises UnknownMethodError."""
        managing = self._oned.managing if method in (self._oned.managing or ()) else None
        handler = self._methods.get(method)
        if handler is None and managing is None:
            raise UnknownMethodError(method)
        if not arguments or not isinstance(arguments[0], str):
            return _failure(f"[{method}] the session is missing", XML_RPC_API)
        user = "oneadmin"
        if arguments[0] != self._oned.settings.session:
            try:
                user = self._oned.users.of_token(arguments[0])
            except ValueError:
                return _failure(f"[{method}] User couldn't be authenticated, aborting call.", AUTHENTICATION)
        if handler is None or managing is not None:
            assert managing is not None
            return self._managed(managing, method, arguments[1:], self._oned.users.ids[user])
        if method in _BY_DRIVERS:
            # drivers are called meanwhile, and ask in their turn
            return handler(method, [*arguments[1:], self._oned.users.ids[user]])
        with self._oned.lock:
            if method == "one.image.info" and not self._may_use(arguments[1:], user):
                said = f"[{method}] User [{self._oned.users.ids[user]}] : Not authorized to perform USE IMAGE"
                return _failure(f"{said} [{arguments[1]}].", AUTHORIZATION)
            return handler(method, arguments[1:])

    def _may_use(self, given: Sequence[object], user: str) -> bool:
        """Whether a user may look at an image: one of its own, one for everybody, one by a rule; oneadmin each."""
        image = self._oned.images.get(_int(given[0])) if given else None
        uid = self._oned.users.ids[user]
        if image is None or not uid:
            return True
        bits = image.permissions.owner if image.uid == uid else image.permissions.other
        return bool(bits & 4) or (uid, image.id) in self._oned.users.rules

    def _managed(self, managing: Managing, method: str, given: Sequence[object], uid: int) -> Answer:
        try:
            return [True, managing.call(method, given, uid), 0]
        except NotFoundError as error:
            return _failure(f"[{method}] Error getting {error.kind} [{error.object_id}].", NO_EXISTS, error.object_id)
        except ValueError as error:
            return _failure(f"[{method}] {error}", ACTION)

    def _template_pool(self, method: str, given: Sequence[object]) -> Answer:
        managing = self._oned.managing
        return _success(managing.template_pool() if managing else self._oned.pool("VMTEMPLATE_POOL", []))

    def _image_allocate(self, method: str, given: Sequence[object]) -> Answer:
        template, store, _check, uid = given
        return self._allocated(method, "image", lambda made: made.image(str(template), _int(store), _int(uid)))

    def _template_allocate(self, method: str, given: Sequence[object]) -> Answer:
        template, uid = given
        return self._allocated(method, "template", lambda made: made.template(str(template), _int(uid)))

    def _image_delete(self, method: str, given: Sequence[object]) -> Answer:
        def delete(made: Allocation) -> int:
            made.delete_image(_int(given[0]))
            return _int(given[0])

        return self._allocated(method, "image", delete)

    def _allocated(self, method: str, what: str, make: Callable[[Allocation], int]) -> Answer:
        if self._oned.allocation is None:
            return _failure(f"[{method}] nothing allocates here", INTERNAL)
        try:
            return [True, make(self._oned.allocation), 0]
        except NotFoundError as error:
            return _failure(f"[{method}] Error getting {error.kind} [{error.object_id}].", NO_EXISTS)
        except ValueError as error:
            return _failure(f"[{method}] Error allocating a new {what}. {error}", INTERNAL)

    def _info(self, kind: str, find: Callable[[int], Element]) -> Callable[[str, Sequence[object]], Answer]:
        def answer(method: str, given: Sequence[object]) -> Answer:
            if not given or not isinstance(given[0], int):
                return _failure(f"[{method}] the id of the {kind} must be a number", XML_RPC_API)
            try:
                return _success(find(given[0]).render())
            except NotFoundError:
                return _failure(f"[{method}] Error getting {kind} [{given[0]}].", NO_EXISTS, given[0])

        return answer

    def _datastore_info(self, method: str, given: Sequence[object]) -> Answer:
        """Passwords are shown to those who ask for that with the second argument."""
        plain = len(given) > 1 and given[1] is True

        def shown(number: int) -> Element:
            return self._oned.datastore(number).element(plain)

        return self._info("datastore", shown)(method, given)

    def _datastore_allocate(self, method: str, given: Sequence[object]) -> Answer:
        try:
            return [True, datastores.allocate(self._oned, str(given[0])).id, 0]
        except (ValueError, IndexError) as error:
            return _failure(f"[{method}] Cannot allocate a new datastore. {error}", INTERNAL)

    def _datastore_update(self, method: str, given: Sequence[object]) -> Answer:
        def update(number: int) -> None:
            datastores.update(self._oned, number, str(given[1]), datastores.MERGE if given[2] == 1 else 0)

        return self._changed(method, given, update)

    def _datastore_rename(self, method: str, given: Sequence[object]) -> Answer:
        def rename(number: int) -> None:
            self._oned.datastore(number).name = str(given[1])

        return self._changed(method, given, rename)

    def _changed(self, method: str, given: Sequence[object], change: Callable[[int], None]) -> Answer:
        if len(given) < 2 or not isinstance(given[0], int):
            return _failure(f"[{method}] wrong parameters", XML_RPC_API)
        try:
            change(given[0])
        except NotFoundError:
            return _failure(f"[{method}] Error getting datastore [{given[0]}].", NO_EXISTS, given[0])
        except ValueError as error:
            return _failure(f"[{method}] Cannot update template. {error}", INTERNAL, given[0])
        return [True, given[0], 0]

    def _pool(self, tag: str, members: Callable[[], list[Element]]) -> Callable[[str, Sequence[object]], Answer]:
        return lambda method, given: _success(self._oned.pool(tag, members()))

    def _ranged_pool(self, tag: str, members: Callable[[], list[Element]]) -> Callable[[str, Sequence[object]], Answer]:
        def answer(method: str, given: Sequence[object]) -> Answer:
            low, high = _range(given)
            found = [element for element in members() if low <= _id(element) <= high]
            return _success(self._oned.pool(tag, found))

        return answer

    def _vm_pool(self, show: Callable[[int], Element]) -> Callable[[str, Sequence[object]], Answer]:
        def answer(method: str, given: Sequence[object]) -> Answer:
            low, high = _range(given)
            wanted = given[3] if len(given) > 3 and isinstance(given[3], int) else -1
            found = []
            for number in sorted(self._oned.vms):
                state = self._oned.vms[number].state
                # -2: any state, -1: any but DONE, else exactly this one.
                if low <= number <= high and (
                    wanted == -2 or (wanted == -1 and state is not VmState.DONE) or wanted == state
                ):
                    found.append(show(number))
            return _success(self._oned.pool("VM_POOL", found))

        return answer


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _values(objects: object) -> list[Element]:
    assert isinstance(objects, dict)
    return [objects[number].element() for number in sorted(objects)]


def _id(element: Element) -> int:
    return int(element.children[0].text or -1)


def _range(given: Sequence[object]) -> tuple[int, int]:
    numbers = [value for value in given[1:3] if isinstance(value, int)]
    low, high = [*numbers, -1, -1][:2]
    return max(low, 0), high if high >= 0 else 1 << 31


def _success(value: str) -> Answer:
    return [True, value, 0]


def _failure(message: str, code: int, object_id: int = -1) -> Answer:
    return [False, message, code, object_id]
