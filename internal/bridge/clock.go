package bridge

import "time"

// TimeSource says whose clock the producer times come from.
type TimeSource string

const (
	// TimeAuto is the camera's, from its RTCP sender reports, while it is within
	// trust of ours; else the arrival of the packets.
	TimeAuto   TimeSource = "auto"
	TimeCamera TimeSource = "camera"
	TimeLocal  TimeSource = "local"
)

// trust is how far a camera's clock may be from ours to be believed: NTP keeps
// clocks within a second, a wrong time zone or a battery gone flat does not.
const trust = 10 * time.Second

// clock turns RTP times into producer times. RTP counts from anywhere; base is
// what has to be added. It is set by the first packet and then follows its target
// slowly, so that times stay in order and pictures evenly apart; a target that is
// far away is jumped to.
type clock struct {
	source TimeSource
	now    func() time.Time

	have    bool
	base    time.Time // producer time of RTP time 0
	last    time.Duration
	trusted bool          // base follows the camera's clock
	offset  time.Duration // the camera's clock less ours; known when seen is
	seen    bool

	// By arrival: the least delay of a window is the one without queueing.
	windowEnd time.Time
	least     time.Time
	haveLeast bool
}

const (
	farAhead = 2 * time.Second        // jump there instead of slewing
	farBack  = 30 * time.Second       // as well; less is slewed, because time that goes back costs a session
	far      = 500 * time.Millisecond // follow faster
	dead     = 20 * time.Millisecond  // differences that nobody cares about
	slew     = 200                    // follow by at most a 200th of the time that passes: 5 ms a second
	fastSlew = 20
	window   = 15 * time.Second
)

// at is the producer time of a packet with RTP time pts. ntp is what the camera's
// sender reports make of it, when they said anything.
func (c *clock) at(pts time.Duration, ntp time.Time, haveNTP bool) time.Time {
	now := c.now()
	arrival := now.Add(-pts)
	if haveNTP {
		c.offset, c.seen = ntp.Sub(now), true
	}
	useNTP := haveNTP && c.believes(ntp)
	if !c.have {
		c.have, c.base, c.trusted, c.last = true, arrival, useNTP, pts
		if useNTP {
			c.base = ntp.Add(-pts)
		}
		return c.base.Add(pts)
	}
	passed := max(pts-c.last, 0)
	c.last = max(c.last, pts)
	if useNTP {
		target := ntp.Add(-pts)
		// After the first report: what was stamped by arrival was late by the delay
		// of the network and of the encoder.
		c.trusted = true
		c.follow(target, passed)
		return c.base.Add(pts)
	}
	if c.trusted && !haveNTP {
		return c.base.Add(pts) // between reports
	}
	c.trusted = false
	if !c.haveLeast || arrival.Before(c.least) {
		c.least, c.haveLeast = arrival, true
	}
	if c.windowEnd.IsZero() {
		c.windowEnd = now.Add(window)
	}
	if now.After(c.windowEnd) {
		c.windowEnd, c.haveLeast = now.Add(window), false
	}
	if c.haveLeast {
		c.follow(c.least, passed)
	}
	return c.base.Add(pts)
}

// believes reports whether times come from the camera's reports.
func (c *clock) believes(ntp time.Time) bool {
	return c.source == TimeCamera || c.source != TimeLocal && ntp.Sub(c.now()).Abs() <= trust
}

func (c *clock) follow(target time.Time, passed time.Duration) {
	d := target.Sub(c.base)
	switch {
	case d > farAhead, d < -farBack:
		c.base = target
	case d.Abs() > dead:
		step := passed / slew
		if d.Abs() > far {
			step = passed / fastSlew
		}
		step = min(step, d.Abs())
		if d < 0 {
			step = -step
		}
		c.base = c.base.Add(step)
	}
}
