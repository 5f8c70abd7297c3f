# SPDX-FileCopyrightText: one_storage.drivers contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers of the build: the install step, the staged copy of the collection and what runs in it."""
