package retention

import "time"

// start is where running counts from on systems that can't say how long they
// have been running.
var start = time.Now()
