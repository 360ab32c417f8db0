module github.com/sluicevideo/sluice/bench/mkv

go 1.26.0

require (
	github.com/at-wat/ebml-go v0.19.0
	github.com/remko/go-mkvparse v0.14.0
	github.com/sluicevideo/sluice v0.0.0
)

replace github.com/sluicevideo/sluice => ../..
