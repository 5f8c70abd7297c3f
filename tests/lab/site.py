# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An oned with images for a lab that is up: python3 -m tests.lab.site --state DIR --images N.

It goes into the background once oned answers, and ends with the lab. What Molecule has to know is in a file of the
front-end: oned's address, and each image's name with the digest of its file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.lab.fleet import FROM, Fleet, contents
from tests.lab.hosts import Lab

TOLD = "/var/tmp/site.json"


def main() -> int:
    """Serve until the lab is down; exit code 0 when oned answers."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.lab.site", description="An oned for a lab, as root.")
    parser.add_argument("--state", type=Path, required=True, help="folder of the lab")
    parser.add_argument("--images", type=int, default=5, help="how many images it has")
    given = parser.parse_args()
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        # a byte when oned answers, none when it died
        return 0 if os.read(reader, 1) else 1
    os.setsid()
    lab = Lab.attach(given.state)
    fleet = Fleet(lab, deploy=False)
    images = fleet.images(given.images)
    fleet.own(FROM)
    told = {
        "endpoint": fleet.ground.server.url,
        "images": {image.name: contents(fleet.file(image)) for image in images},
    }
    fleet.ground.path(fleet.ground.frontend, TOLD).write_text(json.dumps(told))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.write(writer, b"1")
    for handle in (0, 1, 2):
        os.dup2(nothing, handle)
    os.close(writer)
    while lab.alive():
        time.sleep(0.5)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
