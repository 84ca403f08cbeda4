/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The whole public interface of the engine. */
#pragma once

#include <avatar/audio.h>
#include <avatar/decode.h>
#include <avatar/denoise.h>
#include <avatar/device.h>
#include <avatar/error.h>
#include <avatar/image.h>
#include <avatar/lora.h>
#include <avatar/model.h>
#include <avatar/plan.h>
#include <avatar/preset.h>
#include <avatar/speaker.h>
#include <avatar/version.h>
