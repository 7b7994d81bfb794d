// Package loans lends payload where the NIC put it: in memory that only one user's
// payload comes to, by a receive queue that is his meanwhile.
//
// It owns the queues that were set aside for loans, the memory that it was given
// for each user, and the pairs of connections that loans go by. A loan has a pair
// to itself until its payload is here: it asks in several requests, all sent at
// once, and is woken for each, not for each packet. Its fragments keep their tokens
// until they are returned, and the pair's data socket stays open until then,
// whatever becomes of the pair, the link and the NIC's settings. What is not lent
// of a payload (more segments than asked for, or than the budget allows) goes back
// to the kernel at once. Payload of which some came to host memory is not lent at
// all.
//
// What a loan gives back is ordered by where it lies, so that neighbouring pages
// are received into together again: a loan then has fewer segments, and more of a
// range fits one FETCH. Up to as many pages as a queue's page pool caches (with
// most drivers, those of a full ring) go straight to the next packets; all beyond
// that cost the kernel a search of the dma-buf's memory each. So a larger ring
// (ethtool -G) speeds loans up. It also makes pools larger, by the pages of a
// packet for each descriptor; for udmabuf, size_limit_mb must allow that.
//
// A user may have a fixed number of bytes of pages lent, which is what [Size] has
// beside rings, windows and what is being received: so the NIC finds memory
// however long loans are kept, and a user who keeps all he may have is refused
// more. Nobody else's payload comes by his queue. Another user gets the queue
// when nothing is lent or under way on it; see [Lender]. Handing it over is the
// kernel's work, with rtnl held, and takes as long as it takes: the borrower waits,
// and the target is not blamed. It is fast where the memory is few ranges to the NIC,
// as behind an IOMMU or of a GPU. The kernel (6.12) keeps each range as a chunk of a
// gen_pool and walks their list for each page that goes out or comes back: udmabuf of
// 15360 single pages took an emulated machine under load 9 s to unbind.
//
// # Locking
//
// Lender.mu guards who has which queue and which pairs, pair.mu the end of a pair,
// and is taken after it. Neither is held over waiting, or while memory is reserved,
// bound or closed: the one who does that has the lender's turn.
package loans
