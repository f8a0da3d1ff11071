// W bits, N cycles with `enable` later. Not reset.
module sn_delay #(
    parameter W = 1,
    parameter N = 1
) (
    input wire clk,
    input wire enable,
    input wire [W-1:0] in,
    output wire [W-1:0] out
);
    reg [N*W-1:0] held;
    assign out = held[(N-1)*W +: W];
    generate
        if (N > 1) begin : more
            always @(posedge clk) if (enable) held <= {held[0 +: (N-1)*W], in};
        end else begin : one
            always @(posedge clk) if (enable) held <= in;
        end
    endgenerate
endmodule
