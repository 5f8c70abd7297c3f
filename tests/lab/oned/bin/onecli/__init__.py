# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one* commands of the lab. Standard library only: they run with the plain interpreter of a lab host."""
