// Everything that generated code uses.
#pragma once
#include "llmos/attention.h"
#include "llmos/check.h"
#include "llmos/checksum.h"
#include "llmos/cross.h"
#include "llmos/experts.h"
#include "llmos/linear.h"
#include "llmos/pack.h"
#include "llmos/rows.h"
#include "llmos/sample.h"
